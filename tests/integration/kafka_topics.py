"""Kafka as a bystander sees it: topics made, records written and read, offsets committed by a group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError
from kafka.serializer import Serializer

from kaufmann_celery.event import Position
from tests.integration.service_process import DEADLINE_S, eventually

_MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Found:
    """A record as it stands in Kafka."""

    position: Position
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int

    @property
    def header(self) -> dict[str, bytes | None]:
        """The headers by name."""
        return dict(self.headers)

    @property
    def original(self) -> Position | None:
        """The position that an error event or dead letter is about; None for other records."""
        topic = self.header.get("kaufmann-original-topic")
        if topic is None:
            return None
        partition, offset = (int(self.header[f"kaufmann-original-{part}"] or b"") for part in ("partition", "offset"))
        return Position(topic.decode(), partition, offset)


class Bystander:
    """A client of its own. Use in a `with` block."""

    def __init__(self, brokers: str, isolation_level: str = "read_uncommitted") -> None:
        self._brokers = brokers
        self._isolation_level = isolation_level
        self._readers: dict[str, _Reader] = {}
        #: Says that waiting is in vain.
        self.gives_up: Callable[[], bool] = lambda: False

    def __enter__(self) -> Bystander:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Close every connection, as before Kafka goes away; the next call makes new ones."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()
        for name in ("_producer", "_admin"):
            if client := self.__dict__.pop(name, None):
                client.close()

    @cached_property
    def _admin(self) -> Any:
        return KafkaAdminClient(bootstrap_servers=self._brokers)

    @cached_property
    def _producer(self) -> Any:
        return KafkaProducer(
            bootstrap_servers=self._brokers, max_request_size=_MOST_BYTES, allow_auto_create_topics=False
        )

    def create(self, topic: str, partitions: int = 2, **configs: object) -> str:
        """Create *topic*; `max_message_bytes=1` is Kafka's `max.message.bytes`. Returns its name."""
        named = {name.replace("_", "."): str(value) for name, value in configs.items()}
        self._admin.create_topics(
            {topic: {"num_partitions": partitions, "replication_factor": 1, "configs": named}}, wait_for_metadata=True
        )
        return topic

    def alter(self, topic: str, **configs: object) -> None:
        """Set *configs* of a topic that is there, named as by `create`."""
        named = {name.replace("_", "."): str(value) for name, value in configs.items()}
        self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, named)])

    def grow(self, topic: str, partitions: int) -> None:
        """Have *topic* have so many partitions from now on."""
        self._admin.create_partitions({topic: partitions})

    def create_anew(self, topic: str, partitions: int = 2) -> None:
        """Delete *topic* and have another of its name; a consumer that asks for it may be the one who makes it."""
        if reader := self._readers.pop(topic, None):
            reader.close()

        def described() -> Mapping[str, Any]:
            found: Mapping[str, Any] = self._admin.describe_topics([topic])[0]
            return found

        old = described()["topic_id"]
        self._admin.delete_topics([topic])

        def is_new() -> bool:
            with suppress(TopicAlreadyExistsError):
                self._admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1}})
            found = described()
            return bool(found["partitions"]) and found["topic_id"] != old

        eventually(is_new, f"{topic} made anew")

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Remove the records below *offset*, as retention does."""
        self._admin.delete_records({TopicPartition(topic, partition): offset})

    def move_offsets(self, group: str, offsets: Mapping[TopicPartition, Any]) -> None:
        """Commit *offsets* as Kafka's own tools do, once the group has no members."""
        self.await_no_members(group)
        self._admin.alter_group_offsets(group, offsets)

    def await_no_members(self, group: str) -> None:
        """Wait until all members have left, or their sessions are over."""
        eventually(lambda: self._admin.describe_groups([group])[group]["group_state"] == "Empty", f"{group} is empty")

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        partition: int = 0,
        timestamp_ms: int | None = None,
    ) -> Position:
        """Write one record and return where it stands."""
        sent = self._producer.send(
            topic, value, key=key, headers=list(headers), partition=partition, timestamp_ms=timestamp_ms
        ).get(timeout=DEADLINE_S)
        return Position(sent.topic, sent.partition, sent.offset)

    def send_all(self, topic: str, records: Iterable[tuple[int, bytes, bytes, Sequence[tuple[str, bytes]]]]) -> None:
        """Write many: partition, key, value and headers of each."""
        sent = [
            self._producer.send(topic, value, key=key, headers=list(headers), partition=partition)
            for partition, key, value, headers in records
        ]
        for one in sent:
            one.get(timeout=DEADLINE_S)

    def send_aborted(self, topic: str, key: bytes, count: int = 1) -> None:
        """Write records to partition 0 and abort: they take offsets, and so does the marker behind them."""
        producer: Any = KafkaProducer(bootstrap_servers=self._brokers, transactional_id=f"{topic}.aborted")
        producer.init_transactions()
        producer.begin_transaction()
        for _ in range(count):
            producer.send(topic, b"aborted", key=key, partition=0)
        producer.flush()
        producer.abort_transaction()
        producer.close()

    def send_nothing(self, topic: str, headers: Sequence[tuple[str, bytes]]) -> Position:
        """Write a record without key and value, as other clients can, and return where it stands."""
        producer: Any = KafkaProducer(bootstrap_servers=self._brokers, key_serializer=_Nothing())
        try:
            sent = producer.send(topic, None, key=b"?", headers=list(headers), partition=0).get(timeout=DEADLINE_S)
        finally:
            producer.close(timeout=5)
        return Position(sent.topic, sent.partition, sent.offset)

    def read(self, topic: str) -> list[Found]:
        """Return all that *topic* holds now, partition by partition, in order."""
        if topic not in self._readers:
            self._readers[topic] = _Reader(self._brokers, topic, self._isolation_level)
        return self._readers[topic].read()

    def await_records(
        self, topic: str, wanted: Callable[[Found], bool], *, count: int = 1, timeout_s: float = DEADLINE_S
    ) -> list[Found]:
        """Wait until *topic* holds *count* records that are *wanted*, and return all of those there are."""
        found: list[Found] = []

        def enough() -> bool:
            try:
                found[:] = [one for one in self.read(topic) if wanted(one)]
            except KafkaTimeoutError:
                return False  # a broker that was away: who leads its partitions may not be known again yet
            return len(found) >= count

        eventually(enough, f"{count} such records in {topic}", timeout_s, self.gives_up)
        return found

    def committed(self, group: str) -> Mapping[TopicPartition, int]:
        """Return how far *group* has committed."""
        return {partition: kept.offset for partition, kept in self.commits(group).items()}

    def commits(self, group: str) -> Mapping[TopicPartition, Any]:
        """Return the commits of *group*, each with `offset` and `metadata`."""
        try:
            commits: Mapping[TopicPartition, Any] = self._admin.list_group_offsets({group: None})[group]
        except KafkaError as error:
            if not error.retriable:
                raise
            # The first group of a new broker: its coordinator is being made.
            return {}
        return commits

    def ends(self, topic: str) -> Mapping[TopicPartition, int]:
        """Return the end of each partition that holds anything."""
        if topic not in self._readers:
            self._readers[topic] = _Reader(self._brokers, topic, self._isolation_level)
        return {partition: end for partition, end in self._readers[topic].ends().items() if end}

    def await_all_committed(self, group: str, topic: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait until the group's offset is at the end of each partition of *topic*."""
        ends = self.ends(topic)

        def all_committed() -> bool:
            committed = self.committed(group)
            return all(committed.get(partition) == end for partition, end in ends.items())

        eventually(all_committed, f"the group's offsets at the ends of {topic}", timeout_s, self.gives_up)


class _Nothing(Serializer):
    """Makes nothing of a key: kafka-python sends no record without key and value otherwise."""

    def serialize(self, *_: object) -> None:
        return None


class _Reader:
    """Reads a topic from its beginning, on and on."""

    def __init__(self, brokers: str, topic: str, isolation_level: str) -> None:
        self._consumer: Any = KafkaConsumer(
            bootstrap_servers=brokers, max_partition_fetch_bytes=_MOST_BYTES, fetch_max_bytes=_MOST_BYTES,
            isolation_level=isolation_level,
        )  # fmt: skip
        numbers: set[int] = set()

        def known() -> bool:
            numbers.update(self._consumer.partitions_for_topic(topic) or ())
            return bool(numbers)

        eventually(known, f"topic {topic}")
        self._partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
        self._consumer.assign(self._partitions)
        self._consumer.seek_to_beginning(*self._partitions)
        self._records: dict[TopicPartition, list[Found]] = {partition: [] for partition in self._partitions}

    def ends(self) -> Mapping[TopicPartition, int]:
        ends: Mapping[TopicPartition, int] = self._consumer.end_offsets(self._partitions)
        return ends

    def read(self) -> list[Found]:
        ends = self.ends()
        while any(self._consumer.position(partition) < end for partition, end in ends.items()):
            for partition, records in self._consumer.poll(timeout_ms=500).items():
                self._records[partition] += [_found(record) for record in records]
        return [record for records in self._records.values() for record in records]

    def close(self) -> None:
        self._consumer.close(autocommit=False)


def _found(record: Any) -> Found:
    return Found(
        Position(record.topic, record.partition, record.offset),
        record.key,
        record.value,
        tuple((name, value) for name, value in record.headers),
        record.timestamp,
    )
