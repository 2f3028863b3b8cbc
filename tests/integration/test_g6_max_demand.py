"""20,000 events through one ingester and one worker: each has exactly one output, within bounds."""

from __future__ import annotations

import io
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fastavro
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from kaufmann_celery.registry.client import SchemaRegistry
from tests.integration.kafka_topics import Bystander
from tests.integration.service_process import Service, eventually, service, unique

_EVENTS = 20_000
_PARTITIONS = 8
_MAX_DEMAND = 1_000
_MOST_MEMORY_MB = 150

_PLACED = {"type": "record", "name": "OrderPlaced", "fields": [{"name": "order_id", "type": "string"}]}
_CONFIRMED = _PLACED | {"name": "OrderConfirmed"}

_SOURCE = """
from kaufmann_celery import Event, Kaufmann

kaufmann = Kaufmann("{name}")
celery = kaufmann.celery


@kaufmann.on("order.placed")
def confirm(event: Event):
    return ("order.confirmed", {{"order_id": event.payload["order_id"]}})
"""


def _register(stack: Mapping[str, str]) -> None:
    registry = SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]])
    registry.register("order.placed", _PLACED)
    registry.register("order.confirmed", _CONFIRMED)


def _produce(brokers: str, topic: str, events: int) -> None:
    producer: Any = KafkaProducer(bootstrap_servers=brokers, linger_ms=5)
    schema = fastavro.parse_schema(_PLACED)
    for number in range(events):
        value = io.BytesIO()
        fastavro.schemaless_writer(value, schema, {"order_id": str(number)})
        producer.send(topic, key=b"order.placed", value=value.getvalue(), partition=number % _PARTITIONS)
    producer.flush()
    producer.close()


def _outputs(brokers: str, topic: str) -> Counter[bytes]:
    """Count the values of `order.confirmed` in *topic*, by a consumer of its own."""
    consumer: Any = KafkaConsumer(bootstrap_servers=brokers, isolation_level="read_committed")
    partitions = [TopicPartition(topic, number) for number in range(_PARTITIONS)]
    consumer.assign(partitions)
    consumer.seek_to_beginning(*partitions)
    ends = consumer.end_offsets(partitions)
    found: Counter[bytes] = Counter()
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        for records in consumer.poll(500).values():
            found.update(record.value for record in records if record.key == b"order.confirmed")
    consumer.close()
    return found


@contextmanager
def _watching_the_ledger(url: str, group: str) -> Iterator[list[int]]:
    """Note how many events are outstanding in the ledger, again and again, until the block ends."""
    client, peaks, stop = redis.Redis.from_url(url), [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            keys = [f"kaufmann:{{*/{group}/*}}:{part}" for part in ("claims", "outcomes")]
            found = [key for pattern in keys for key in client.keys(pattern)]
            pipeline = client.pipeline(transaction=True)
            for key in found:
                pipeline.hlen(key)
            peaks[0] = max(peaks[0], sum(pipeline.execute()))
            stop.wait(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        stop.set()
        thread.join()
        client.close()


def _peak_memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(kilobytes) / 1024


def _await_settled(kafka: Bystander, running: Service, topic: str, ends: Mapping[TopicPartition, int]) -> None:
    def settled() -> bool:
        committed = kafka.committed(running.name)
        return all(committed.get(partition, 0) >= end for partition, end in ends.items())

    eventually(settled, f"all of {topic} committed", 120, running.has_died)


def test_each_of_20000_events_has_exactly_one_output_and_max_demand_holds(
    stack: dict[str, str], tmp_path: Path
) -> None:
    name = unique("once")
    _register(stack)
    settings = {"max_demand": str(_MAX_DEMAND)}
    with (
        Bystander(stack["KAUFMANN_BROKERS"]) as kafka,
        service(tmp_path, stack, _SOURCE.format(name=name), name=name, settings=settings) as running,
        _watching_the_ledger(stack["KAUFMANN_REDIS_URL"], name) as peaks,
    ):
        kafka.create(name, _PARTITIONS)
        _produce(stack["KAUFMANN_BROKERS"], name, _EVENTS)
        ends = dict(kafka.ends(name))
        running.start()
        _await_settled(kafka, running, name, ends)
        memory_mb = _peak_memory_mb(running.pid("ingester"))
        # The outputs went to the same topic: nothing wants them, and they are passed over to the end.
        kafka.await_all_committed(name, name)

    outputs = _outputs(stack["KAUFMANN_BROKERS"], name)
    assert len(outputs) == _EVENTS
    assert set(outputs.values()) == {1}
    assert 0 < peaks[0] <= _MAX_DEMAND
    assert memory_mb < _MOST_MEMORY_MB
    print(json.dumps({"peak_outstanding": peaks[0], "ingester_mb": round(memory_mb, 1)}))


def test_the_ingesters_memory_does_not_grow_with_the_lag(stack: dict[str, str], tmp_path: Path) -> None:
    _register(stack)
    peaks: dict[int, float] = {}
    source = _SOURCE.replace(
        '    return ("order.confirmed", {{"order_id": event.payload["order_id"]}})\n', "    return None\n"
    )
    for events in (2_000, 200_000):
        name = unique("lag")
        directory = tmp_path / str(events)
        directory.mkdir()
        with (
            Bystander(stack["KAUFMANN_BROKERS"]) as kafka,
            service(directory, stack, source.format(name=name), name=name, settings={"max_demand": "1000"}) as running,
        ):
            kafka.create(name, _PARTITIONS)
            _produce(stack["KAUFMANN_BROKERS"], name, events)
            running.start()
            _await_settled(kafka, running, name, dict(kafka.ends(name)))
            peaks[events] = _peak_memory_mb(running.pid("ingester"))
    print(json.dumps(peaks))
    assert peaks[200_000] < _MOST_MEMORY_MB
    assert abs(peaks[200_000] - peaks[2_000]) <= 15
