"""Reads Kafka for the checker: the events, what was published, and the group's commits.

Imports nothing of the package under test. `read_committed`, so what a transaction left behind unfinished is not seen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from tests.chaos import commits
from tests.chaos.evidence import Commit, Published, Sent
from tests.chaos.kafka_log import read_partition

_OFFSETS = "__consumer_offsets"


def read_sent(brokers: str, topic: str) -> list[Sent]:
    """Return every event of the service's topic."""
    return [
        Sent(
            record.partition,
            record.offset,
            dict(record.headers)["chaos-kind"].decode(),
            record.key.decode().partition("#")[2] or None,
            record.timestamp / 1000,
        )
        for record in _records(brokers, topic)
    ]


def read_published(brokers: str, topic: str) -> list[Published]:
    """Return every output and error event of *topic*."""
    return [_published(record) for record in _records(brokers, topic)]


def read_group(data: Path, group: str, topic: str) -> tuple[list[Commit], list[int]]:
    """Return from the broker's *data* the commits of *group* for *topic*, and the group's generations.

    Each in the order in which they took effect. A commit within a transaction does so when that is committed, which
    only the log on disk tells.
    """
    found: list[Commit] = []
    generations: list[int] = []
    for directory in sorted(data.glob(f"{_OFFSETS}-*")):
        for record in read_partition(directory):
            if record.key is None or record.value is None:
                continue
            key = commits.parse_key(record.key)
            if key is not None and (key.group, key.topic) == (group, topic):
                offset, metadata = commits.parse_value(record.value)
                found.append(Commit(key.partition, offset, metadata, record.at))
            elif commits.parse_group(record.key) == group:
                generations.append(commits.parse_generation(record.value))
    return found, generations


def committed_and_end(brokers: str, group: str, topic: str) -> tuple[int, int]:
    """Return the sums of the group's committed offsets and of the partitions' ends."""
    consumer: Any = KafkaConsumer(bootstrap_servers=brokers, group_id=group, enable_auto_commit=False)
    try:
        partitions = _partitions(consumer, topic)
        return sum(consumer.committed(one) or 0 for one in partitions), sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close(autocommit=False)


def _published(record: Any) -> Published:
    headers = dict(record.headers)
    if "chaos-source" in headers:
        partition, offset, index = map(int, headers["chaos-source"].decode().split(":"))
        error_type, meta = "", json.loads(headers["kaufmann-meta"])
    else:
        partition, offset = (int(headers[f"kaufmann-original-{part}"]) for part in ("partition", "offset"))
        index, error_type = -1, headers["kaufmann-error-type"].decode()
        meta = json.loads(headers["kaufmann-meta"]) if "kaufmann-meta" in headers else _meta_within(record.value)
    whole = repr((record.key, record.value, record.headers)).encode()
    where = f"{record.topic}:{record.partition}:{record.offset}"
    digest = hashlib.sha256(whole).hexdigest()[:16]
    return Published(partition, offset, index, meta["message_id"], digest, error_type, record.timestamp / 1000, where)


def _meta_within(value: bytes) -> dict[str, Any]:
    """Return the meta of an event that is written as JSON."""
    meta: dict[str, Any] = json.loads(value)["meta"]
    return meta


def _records(brokers: str, topic: str) -> Iterator[Any]:
    consumer: Any = KafkaConsumer(
        bootstrap_servers=brokers,
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_bytes=16 * 1024 * 1024,
    )
    try:
        partitions = _partitions(consumer, topic)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        ends = consumer.end_offsets(partitions)
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            for records in consumer.poll(timeout_ms=500, max_records=5000).values():
                yield from records
    finally:
        consumer.close(autocommit=False)


def _partitions(consumer: Any, topic: str) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
