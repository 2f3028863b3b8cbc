"""The events, the same for every contestant, and the topics that hold them.

190 bytes with their key, in Avro, in 8 partitions by key. 10,000 keys by Zipf's law: the first comes with every tenth
event, the last with one in 100,000. So the largest partition has 19 % of the events.
"""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka import KafkaAdminClient

from kaufmann_celery.registry.client import SchemaRegistry
from kaufmann_celery.registry.local_schemas import shipped_error_schema

Settings = Mapping[str, str]

SCHEMA = {
    "type": "record",
    "name": "OrderPlaced",
    "fields": [{"name": name, "type": "string"} for name in ("order_id", "customer", "street", "city", "note")]
    + [{"name": "lines", "type": {"type": "array", "items": "long"}}],
}
#: Of an event as it is, and of a topic as it is.
BYTES, PARTITIONS = 176, 8
#: The event that is handled, and the one that answers it.
NAME, ANSWER = "order.placed", "order.confirmed"

_KEYS = 10_000
_ZIPF = list(accumulate(1 / rank for rank in range(1, _KEYS + 1)))
_PARSED = fastavro.parse_schema(SCHEMA)
_MINUTES_10_MS = 600_000


def payload(number: int) -> dict[str, Any]:
    """An event of `BYTES`."""
    return {
        "order_id": f"order-{number:010d}",
        "customer": "customer-000123",
        "street": "Some rather long street name 12345",
        "city": "A town by the sea",
        "note": "please leave it with the neighbours when nobody is at home, thanks",
        "lines": list(range(20)),
    }


def of_size(number: int, size: int) -> dict[str, Any]:
    """An event of *size* bytes, 100 or more: the same with another note, and where there is no room, no lines."""
    event = payload(number) | {"note": ""}
    if len(encoded(event)) > size:
        event["lines"] = []
    # Give or take two: the length of a long note takes bytes itself.
    return event | {"note": "x" * (size - len(encoded(event)))}


def encoded(event: Mapping[str, Any]) -> bytes:
    """Return the bare Avro of *event*."""
    value = io.BytesIO()
    fastavro.schemaless_writer(value, _PARSED, event)
    return value.getvalue()


def decoded(value: bytes) -> dict[str, Any]:
    """Return the event in *value*: what contestants use that bring no decoder of their own."""
    event: Any = fastavro.schemaless_reader(io.BytesIO(value), _PARSED, None)
    return dict(event)


def register(stack: Settings, *names: str) -> None:
    """Register the schema for events of these names, and the one that error events have."""
    registry = SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]])
    registry.register("event.error", shipped_error_schema())
    for name in names:
        registry.register(name, SCHEMA)


def create(stack: Settings, topic: str, partitions: int = PARTITIONS) -> None:
    """Create *topic*."""
    admin: Any = KafkaAdminClient(bootstrap_servers=stack["KAUFMANN_BROKERS"])
    admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()


def delete(stack: Settings, prefix: str) -> None:
    """Delete the topics that begin with *prefix*: the disk and the broker's caches are the next run's."""
    admin: Any = KafkaAdminClient(bootstrap_servers=stack["KAUFMANN_BROKERS"])
    admin.delete_topics([topic for topic in admin.list_topics() if topic.startswith(prefix)])
    admin.close()


def fill(
    stack: Settings, topic: str, events: int, *,
    partitions: int = PARTITIONS, names: Sequence[str] = (NAME,), size: int | None = None,
) -> list[int]:  # fmt: skip
    """Create *topic* and write *events* into it; return how many are in each partition."""
    create(stack, topic, partitions)
    producer = Producer({"bootstrap.servers": stack["KAUFMANN_BROKERS"], **_PRODUCER})
    written = _write(producer, topic, _records(events, partitions, names, size), partitions)
    producer.flush()
    return written


def records_in(stack: Settings, topic: str) -> int:
    """Return how many records *topic* has, whoever wrote them."""
    consumer = Consumer({"bootstrap.servers": stack["KAUFMANN_BROKERS"], "group.id": "benchmarks", **QUIET})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, number))[1] for number in range(PARTITIONS)]
    consumer.close()
    return sum(ends)


@contextmanager
def gated(stack: Settings, topic: str, events: int) -> Iterator[tuple[list[int], Callable[[], None]]]:
    """Create *topic* and write *events* into it that nobody can read before the gate is opened.

    They stand in a transaction; so several consumers can share out the partitions first, and then all have the
    whole backlog at once. They must read `read_committed`. Yields how many are in each partition, and what opens it.
    """
    create(stack, topic)
    settings = {"transactional.id": topic, "transaction.timeout.ms": _MINUTES_10_MS}
    producer = Producer({"bootstrap.servers": stack["KAUFMANN_BROKERS"], **_PRODUCER, **settings})
    producer.init_transactions()
    producer.begin_transaction()
    written = _write(producer, topic, _records(events, PARTITIONS, (NAME,)), PARTITIONS)
    producer.flush()
    yield written, producer.commit_transaction


#: 3 is errors.
QUIET = {"log_level": 3}
_PRODUCER = {"acks": "all", "linger.ms": 5, "queue.buffering.max.messages": 1_000_000, **QUIET}


def _records(
    events: int, partitions: int, names: Sequence[str], size: int | None = None
) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield partition, key and value; the same ones whenever it is called with the same."""
    first = payload(0) if size is None else of_size(0, size)
    # Each encoded by itself would take longer than some contestants take to handle it.
    like, first_id = encoded(first), first["order_id"].encode()
    keys = random.Random(events).choices(range(_KEYS), cum_weights=_ZIPF, k=events)
    for number, key in enumerate(keys):
        value = like.replace(first_id, f"order-{number:010d}".encode(), 1)
        yield zlib.crc32(b"%d" % key) % partitions, f"{names[number % len(names)]}#{key}".encode(), value


def _write(producer: Any, topic: str, records: Iterator[tuple[int, bytes, bytes]], partitions: int) -> list[int]:
    written = [0] * partitions
    for partition, key, value in records:
        written[partition] += 1
        while True:
            try:
                producer.produce(topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.1)
    return written
