"""How long an event takes from the producer's send to the start of its handler.

Events come one by one, at random moments 10 to 60 ms apart, in a system that is else idle; or so many in a second, as
they would by chance. `python -m benchmarks.latency [--events 1000] [--rate 1000]`
"""

from __future__ import annotations

import argparse
import json
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
from confluent_kafka import Producer

from benchmarks.processes import unwind_at_sigterm, worker
from benchmarks.scene import RunFailed
from benchmarks.traffic import NAME, PARTITIONS, QUIET, Settings, create, delete, encoded, payload, register
from kaufmann_celery.local import temporary_stack

#: Where the handler notes when each event was sent, and how many seconds it took.
LATENCIES = "latencies"
#: What does not count: the first events of new processes, one by one, and the first seconds of those that come at a
#: rate, in which Kafka compiles what serves them.
_FIRST, _WARM_UP_S = 50, 5.0


def main() -> None:
    """Start a stack of its own, measure, and print the percentiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000)
    parser.add_argument("--rate", type=float, help="events a second; one by one without it")
    options = parser.parse_args()
    events: int = options.events
    unwind_at_sigterm()
    with temporary_stack() as stack:
        register(stack, NAME)
        found = latencies(stack, "latency", events, options.rate)
    shown = [f"{name.removesuffix('_ms')} {ms:.1f} ms" for name, ms in percentiles(found).items()]
    print(f"{events:,} events: {', '.join(shown)}")


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return what half, 99 % and 99.9 % are within, by the nearest rank, the mean and the most, in milliseconds."""
    ordered = sorted(one * 1000 for one in seconds)
    cuts = {f"p{mille / 10:g}_ms": ordered[-(-mille * len(ordered) // 1000) - 1] for mille in (500, 990, 999)}
    return {**cuts, "mean_ms": statistics.mean(ordered), "most_ms": ordered[-1]}


def latencies(stack: Settings, topic: str, events: int, rate: float | None = None) -> list[float]:
    """Run ingester and worker, and return the seconds that each event took to its handler.

    *rate*: events a second; None: one by one.
    """
    redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"]).delete(LATENCIES)
    create(stack, topic)
    environ = {**os.environ, **stack, "BENCH_TOPIC": topic, "BENCH_LATENCIES": LATENCIES}
    kaufmann = str(Path(sys.executable).parent / "kaufmann")
    ingester = [kaufmann, "-A", "benchmarks.service", "ingester", "-l", "warning"]
    with worker("benchmarks.service", environ), subprocess.Popen(ingester, env=environ) as running:
        try:
            return _measured(stack, topic, _FIRST + round(_WARM_UP_S * (rate or 0)) + events, rate)[-events:]
        finally:
            running.terminate()
            running.wait()
            delete(stack, topic)


def _measured(stack: Settings, topic: str, events: int, rate: float | None) -> list[float]:
    """Send *events*, *rate* of them a second, and return the seconds that each took to its handler."""
    client: Any = redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"])
    # Not kafka-python's: at a thousand a second it would take most of a processor from those that are measured.
    producer = Producer({"bootstrap.servers": stack["KAUFMANN_BROKERS"], "linger.ms": 0, **QUIET})
    due = time.monotonic()
    for number in range(events):
        value = encoded(payload(number) | {"note": repr(time.time())})
        producer.produce(topic, key=NAME.encode(), value=value, partition=number % PARTITIONS)
        producer.poll(0)
        if number < _FIRST:
            _handled(client, number + 1)
            due = time.monotonic()
        due += random.uniform(0.01, 0.06) if rate is None else random.expovariate(rate)
        time.sleep(max(0.0, due - time.monotonic()))
    producer.flush()
    _handled(client, events)
    in_order = sorted(json.loads(one) for one in client.lrange(LATENCIES, 0, -1))
    return [took for _, took in in_order]


def _handled(client: Any, events: int) -> None:
    """Wait until so many events were handled, for a minute at most."""
    deadline = time.monotonic() + 60
    while (found := client.llen(LATENCIES)) < events:
        if time.monotonic() > deadline:
            raise RunFailed(f"only {found} of {events} events were handled within a minute")
        time.sleep(0.002)


if __name__ == "__main__":
    main()
