"""How long an event takes from the producer's send to the start of its handler, in a system that is else idle.

Events come one by one, at random moments 10 to 60 ms apart. `python -m benchmarks.latency [--events 1000]`
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fastavro
import redis
from kafka import KafkaProducer

from benchmarks.compare import PARTITIONS, SCHEMA, Settings, create, payload, worker
from kaufmann_celery.local import temporary_stack
from kaufmann_celery.registry.client import SchemaRegistry

#: Where the handler notes each event's latency, and events whose latency does not count: the first of a new process.
LATENCIES, WARM_UP = "latencies", 50


def main() -> None:
    """Start a stack of its own, measure, and print the percentiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000)
    events: int = parser.parse_args().events
    with temporary_stack() as stack:
        SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]]).register("order.placed", SCHEMA)
        create(stack, "latency")
        environ = {**os.environ, **stack, "BENCH_TOPIC": "latency", "BENCH_LATENCIES": LATENCIES}
        kaufmann = str(Path(sys.executable).parent / "kaufmann")
        ingester = [kaufmann, "-A", "benchmarks.noop_service", "ingester"]
        with worker("benchmarks.noop_service", environ), subprocess.Popen(ingester, env=environ) as running:
            try:
                found = measured(stack, WARM_UP + events)
            finally:
                running.terminate()
    found = sorted(found[WARM_UP:])
    shown = [f"p{cut:g} {found[int(cut / 100 * len(found))] * 1000:.1f} ms" for cut in (50, 99, 99.9)]
    mean, most = statistics.mean(found) * 1000, found[-1] * 1000
    print(f"{len(found):,} events: {', '.join(shown)}, mean {mean:.1f} ms, most {most:.1f} ms")


def measured(stack: Settings, events: int) -> list[float]:
    """Send *events*, and return the seconds that each took to its handler."""
    client: Any = redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"])
    producer: Any = KafkaProducer(bootstrap_servers=stack["KAUFMANN_BROKERS"], linger_ms=0)
    parsed = fastavro.parse_schema(SCHEMA)
    for number in range(events):
        value = io.BytesIO()
        fastavro.schemaless_writer(value, parsed, payload(number) | {"note": repr(time.time())})
        producer.send("latency", key=b"order.placed", value=value.getvalue(), partition=number % PARTITIONS)
        time.sleep(random.uniform(0.01, 0.06))
        while number == 0 and not client.llen(LATENCIES):
            time.sleep(0.05)
    producer.close()
    deadline = time.monotonic() + 60
    while client.llen(LATENCIES) < events and time.monotonic() < deadline:
        time.sleep(0.05)
    found = [float(one) for one in client.lrange(LATENCIES, 0, -1)]
    if len(found) < events:
        raise SystemExit(f"only {len(found)} of {events} events were handled within a minute of the last one")
    return found


if __name__ == "__main__":
    main()
