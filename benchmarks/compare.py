"""Events per second beside what a user would write by hand, in one run on one machine: only the ratios mean much.

- bare: poll, decode, call; one process, no Celery
- naive: poll, decode, `delay` for each event; a Celery worker of two processes
- kaufmann: this project, its ingester and a worker of two processes
- answers: the same with one output for each event, published at least once
- exactly: the same exactly once, in transactions

`python -m benchmarks.compare [--events 30000] [--max-demand 1000] [--rounds 3] [--only answers,exactly]`. The order is
mixed in each round.
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastavro
import redis
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from kaufmann_celery.local import temporary_stack
from kaufmann_celery.registry.client import SchemaRegistry

SCHEMA = {
    "type": "record",
    "name": "OrderPlaced",
    "fields": [{"name": name, "type": "string"} for name in ("order_id", "customer", "street", "city", "note")]
    + [{"name": "lines", "type": {"type": "array", "items": "long"}}],
}
PARTITIONS = 8
HERE = Path(__file__).parent
Settings = Mapping[str, str]


def payload(number: int) -> dict[str, Any]:
    """An event of about 190 bytes."""
    return {
        "order_id": f"order-{number:010d}",
        "customer": f"customer-{number % 1000:06d}",
        "street": "Some rather long street name 12345",
        "city": "A town by the sea",
        "note": "please leave it with the neighbours when nobody is at home, thanks",
        "lines": list(range(20)),
    }


def create(stack: Settings, topic: str) -> None:
    """Create *topic*."""
    admin: Any = KafkaAdminClient(bootstrap_servers=stack["KAUFMANN_BROKERS"])
    admin.create_topics({topic: {"num_partitions": PARTITIONS, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()


def fill(stack: Settings, topic: str, events: int) -> None:
    """Create *topic* and write *events* into it."""
    create(stack, topic)
    producer: Any = KafkaProducer(bootstrap_servers=stack["KAUFMANN_BROKERS"], linger_ms=5)
    parsed = fastavro.parse_schema(SCHEMA)
    for number in range(events):
        value = io.BytesIO()
        fastavro.schemaless_writer(value, parsed, payload(number))
        producer.send(topic, key=b"order.placed", value=value.getvalue(), partition=number % PARTITIONS)
    producer.flush()
    producer.close()


def records(stack: Settings, topic: str, events: int) -> Iterator[tuple[Any, list[Any]]]:
    """Yield a consumer and each batch that it polls, until *events* have come."""
    consumer: Any = KafkaConsumer(
        topic,
        bootstrap_servers=stack["KAUFMANN_BROKERS"],
        group_id=topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    seen = 0
    while seen < events:
        for batch in consumer.poll(500).values():
            seen += len(batch)
            yield consumer, batch
    consumer.commit()
    consumer.close()


def bare(stack: Settings, topic: str, events: int, _: int) -> float:
    """Poll, decode, call."""
    parsed, started, handled = fastavro.parse_schema(SCHEMA), 0.0, 0
    for _, batch in records(stack, topic, events):
        started = started or time.perf_counter()
        for record in batch:
            handled += len(fastavro.schemaless_reader(io.BytesIO(record.value), parsed, None)) > 0
    return handled / (time.perf_counter() - started)


def naive(stack: Settings, topic: str, events: int, _: int) -> float:
    """Poll, decode, `delay` for each."""
    from benchmarks.naive_bridge import app, handle

    app.conf.update(broker_url=stack["KAUFMANN_REDIS_URL"], task_default_queue=topic)
    client = redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"])
    environ = {"BENCH_BROKER": stack["KAUFMANN_REDIS_URL"], "BENCH_QUEUE": topic}
    with worker("benchmarks.naive_bridge", environ):
        parsed, started = fastavro.parse_schema(SCHEMA), 0.0
        for _, batch in records(stack, topic, events):
            started = started or time.perf_counter()
            for record in batch:
                handle.delay(fastavro.schemaless_reader(io.BytesIO(record.value), parsed, None))
        while client.llen(topic) or client.hlen("unacked"):
            time.sleep(0.01)
        return events / (time.perf_counter() - started)


def kaufmann(stack: Settings, topic: str, events: int, max_demand: int, **more: str) -> float:
    """Ours, to the committed offsets."""
    environ = {**stack, "BENCH_TOPIC": topic, "KAUFMANN_MAX_DEMAND": str(max_demand), **more}
    with worker("benchmarks.noop_service", environ):
        script = "from benchmarks.noop_service import measure; measure()"
        out = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **environ}, check=True, capture_output=True, text=True
        )
    return events / float(out.stdout)


def answers(stack: Settings, topic: str, events: int, max_demand: int, delivery: str = "at_least_once") -> float:
    """Ours, with an output for each event."""
    create(stack, f"{topic}.out")
    more = {"BENCH_ANSWERS": "1", "KAUFMANN_DEFAULT_PUBLISH_TOPIC": f"{topic}.out", "KAUFMANN_DELIVERY": delivery}
    return kaufmann(stack, topic, events, max_demand, **more)


def exactly(stack: Settings, topic: str, events: int, max_demand: int) -> float:
    """Ours, with an output for each event, in transactions."""
    return answers(stack, topic, events, max_demand, "exactly_once")


@contextmanager
def worker(module: str, environ: Settings, processes: int = 2) -> Iterator[int]:
    """Run a Celery worker; yields its process id once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", module, "worker", "-c", str(processes), "-l", "INFO"],
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "ready." in line:
            break
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)
        drain.wait(5)


CONTESTANTS: Mapping[str, Callable[[Settings, str, int, int], float]] = {
    "bare": bare,
    "naive": naive,
    "kaufmann": kaufmann,
    "answers": answers,
    "exactly": exactly,
}


def main() -> None:
    """Run all rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=30_000)
    parser.add_argument("--max-demand", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(CONTESTANTS))
    options = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in options.only}
    with temporary_stack() as stack:
        for subject in ("order.placed", "order.confirmed"):
            SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]]).register(subject, SCHEMA)
        for number in range(options.rounds):
            for name in random.sample(options.only, len(options.only)):
                events = options.events // 10 if name == "naive" else options.events
                topic = f"{name}-{number}"
                fill(stack, topic, events)
                rates[name].append(CONTESTANTS[name](stack, topic, events, options.max_demand))
                print(f"round {number + 1}: {name:10} {rates[name][-1]:10,.0f} events/s", flush=True)
    medians = {name: statistics.median(found) for name, found in rates.items()}
    print(
        f"\nmax_demand {options.max_demand}, {options.events:,} events, median of {options.rounds} (lowest to highest)"
    )
    base = "naive" if "naive" in medians else options.only[0]
    for name, found in rates.items():
        ratio = medians[name] / medians[base]
        print(
            f"{name:10} {medians[name]:10,.0f} events/s {ratio:6.2f} x {base} ({min(found):,.0f} to {max(found):,.0f})"
        )


if __name__ == "__main__":
    main()
