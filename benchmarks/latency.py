"""How long an event takes from the producer's send to the start of its handler, in a system that is else idle.

Events come one by one, at random moments 10 to 60 ms apart. `python -m benchmarks.latency [--events 1000]`
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis
from kafka import KafkaProducer

from benchmarks.processes import unwind_at_sigterm, worker
from benchmarks.scene import RunFailed
from benchmarks.traffic import NAME, PARTITIONS, Settings, create, encoded, payload, register
from kaufmann_celery.local import temporary_stack

#: Where the handler notes each event's latency, and events whose latency does not count: the first of a new process.
LATENCIES, WARM_UP = "latencies", 50


def main() -> None:
    """Start a stack of its own, measure, and print the percentiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000)
    events: int = parser.parse_args().events
    unwind_at_sigterm()
    with temporary_stack() as stack:
        register(stack, NAME)
        found = idle(stack, "latency", events)
    shown = [f"{name.removesuffix('_ms')} {ms:.1f} ms" for name, ms in percentiles(found).items()]
    print(f"{events:,} events: {', '.join(shown)}")


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return what half, 99 % and 99.9 % are within, the mean and the most, in milliseconds."""
    ordered = sorted(one * 1000 for one in seconds)
    cuts = {f"p{cut:g}_ms": ordered[int(cut / 100 * len(ordered))] for cut in (50, 99, 99.9)}
    return {**cuts, "mean_ms": statistics.mean(ordered), "most_ms": ordered[-1]}


def idle(stack: Settings, topic: str, events: int) -> list[float]:
    """Run ingester and worker, and return the seconds that each event took to its handler."""
    redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"]).delete(LATENCIES)
    create(stack, topic)
    environ = {**os.environ, **stack, "BENCH_TOPIC": topic, "BENCH_LATENCIES": LATENCIES}
    kaufmann = str(Path(sys.executable).parent / "kaufmann")
    ingester = [kaufmann, "-A", "benchmarks.service", "ingester"]
    with worker("benchmarks.service", environ), subprocess.Popen(ingester, env=environ) as running:
        try:
            return _measured(stack, topic, WARM_UP + events)[WARM_UP:]
        finally:
            running.terminate()


def _measured(stack: Settings, topic: str, events: int) -> list[float]:
    """Send *events*, and return the seconds that each took to its handler."""
    client: Any = redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"])
    producer: Any = KafkaProducer(bootstrap_servers=stack["KAUFMANN_BROKERS"], linger_ms=0)
    for number in range(events):
        value = encoded(payload(number) | {"note": repr(time.time())})
        producer.send(topic, key=NAME.encode(), value=value, partition=number % PARTITIONS)
        time.sleep(random.uniform(0.01, 0.06))
        while number == 0 and not client.llen(LATENCIES):
            time.sleep(0.05)
    producer.close()
    deadline = time.monotonic() + 60
    while client.llen(LATENCIES) < events and time.monotonic() < deadline:
        time.sleep(0.05)
    found = [float(one) for one in client.lrange(LATENCIES, 0, -1)]
    if len(found) < events:
        raise RunFailed(f"only {len(found)} of {events} events were handled within a minute of the last one")
    return found


if __name__ == "__main__":
    main()
