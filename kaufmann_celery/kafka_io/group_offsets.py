"""What Kafka knows of a consumer group: members, commits, and the ends of its partitions; and moving its offsets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from kafka import IsolationLevel, KafkaAdminClient, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import OffsetSpec

from kaufmann_celery.config import Config
from kaufmann_celery.errors import KaufmannError, UnavailableError
from kaufmann_celery.kafka_io.options import client_options
from kaufmann_celery.partitions.commit_metadata import Committed, parse

#: Seconds for which a new cluster's coordinator may be missing, and that reading single records may take.
_COORDINATOR_WAIT_S = 5.0
_RECORDS_WAIT_S = 3.0
_RETRY_S = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Member:
    """One ingester in the group."""

    client_id: str
    host: str
    partitions: frozenset[TopicPartition]

    def __str__(self) -> str:
        names = ", ".join(sorted(f"{one.topic}:{one.partition}" for one in self.partitions))
        return f"{self.client_id}@{self.host} ({names or 'no partitions yet'})"


class GroupActive(KaufmannError):
    """The consumer group has members, so its offsets are theirs. Stop its ingesters first."""


#: What Kafka answers where a group has members.
_ACTIVE = (
    kafka_errors.UnknownMemberIdError,
    kafka_errors.NonEmptyGroupError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
)


@dataclass(frozen=True, slots=True)
class KafkaView:
    """The group and its partitions at one time, as far as one can tell by asking one after the other."""

    cluster_id: str
    #: Kafka's word for the group's state; `Dead` where there is none.
    state: str
    members: tuple[Member, ...]
    #: Topic -> UUID, of the subscribed topics that exist.
    topic_ids: Mapping[str, str]
    missing_topics: tuple[str, ...]
    firsts: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    commits: Mapping[TopicPartition, Committed]

    @property
    def is_active(self) -> bool:
        """Return whether the group has members, or is about to."""
        return self.state not in ("Empty", "Dead")


class GroupReader:
    """Asks Kafka about the service's group. Connects when it is made; all raise `UnavailableError`."""

    def __init__(self, config: Config, *, connect_timeout: float) -> None:
        self._config = config
        self._options = {"bootstrap_timeout_ms": int(connect_timeout * 1000), **client_options(config)}
        self._admin: Any = _asked(lambda: KafkaAdminClient(**self._options))

    def view(self) -> KafkaView:
        """Return what Kafka knows. Blocks."""
        return _asked(self._view)

    def records(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[str | None, int]]:
        """Return the event name (None where the key does not say it) and timestamp in ms of one record a partition.

        Leaves out what is not there any more, and what takes longer than 3 s.
        """
        return _asked(lambda: self._records(offsets)) if offsets else {}

    def at_time(self, partitions: Iterable[TopicPartition], moment_ms: int) -> dict[TopicPartition, int]:
        """Return the first offset of each partition whose record is not older; leaves out where there is none."""
        found = _asked(lambda: self._offsets(list(partitions), moment_ms))
        return {partition: offset for partition, offset in found.items() if offset >= 0}

    def kept(self) -> dict[TopicPartition, tuple[int, str]]:
        """Return the group's commits as they are, each with its metadata, whatever the topics."""
        group = self._config.consumer_group
        found = _asked(lambda: _patiently(lambda: self._admin.list_group_offsets({group: None})[group]))
        return {where: (one.offset, one.metadata or "") for where, one in found.items() if one.offset >= 0}

    def move(self, offsets: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str] | None = None) -> None:
        """Commit *offsets* for the group. Raises `GroupActive` where it has members, `KaufmannError` where refused."""
        group, said = self._config.consumer_group, metadata or {}
        commits = {where: OffsetAndMetadata(offset, said.get(where, ""), -1) for where, offset in offsets.items()}
        answers = _asked(lambda: _patiently(lambda: self._admin.alter_group_offsets(group, commits)))
        refused = {where: error for where, error in answers.items() if error is not kafka_errors.NoError}
        if any(issubclass(error, _ACTIVE) for error in refused.values()):
            raise GroupActive(f"group {group} has become active: its offsets were not moved")
        if refused:
            reasons = ", ".join(f"{one.topic}:{one.partition} {error.__name__}" for one, error in refused.items())
            raise KaufmannError(f"Kafka refuses to move the offsets of group {group}: {reasons}")

    def close(self) -> None:
        """Close the connection."""
        self._admin.close()

    def _view(self) -> KafkaView:
        group = self._config.consumer_group
        described = _patiently(lambda: self._admin.describe_groups([group])[group])
        topics = self._admin.describe_topics(list(self._config.subscription_topics))
        there = {one["name"]: one for one in topics if one["partitions"]}
        partitions = [
            TopicPartition(name, number["partition_index"])
            for name, one in there.items()
            for number in one["partitions"]
        ]
        offsets = _patiently(lambda: self._admin.list_group_offsets({group: None})[group])
        return KafkaView(
            cluster_id=str(self._admin.describe_cluster()["cluster_id"]),
            state=described["group_state"],
            members=tuple(_member(one) for one in described["members"]),
            topic_ids={name: str(one["topic_id"]) for name, one in there.items()},
            missing_topics=tuple(name for name in self._config.subscription_topics if name not in there),
            firsts=self._offsets(partitions, OffsetSpec.EARLIEST),
            ends=self._offsets(partitions, OffsetSpec.LATEST),
            commits={
                partition: parse(kept.offset, kept.metadata) for partition, kept in offsets.items() if kept.offset >= 0
            },
        )

    def _offsets(self, partitions: list[TopicPartition], spec: Any) -> dict[TopicPartition, int]:
        found = self._admin.list_partition_offsets(
            dict.fromkeys(partitions, spec), isolation_level=IsolationLevel.READ_COMMITTED
        )
        return {partition: found[partition].offset for partition in partitions}

    def _records(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, tuple[str | None, int]]:
        consumer: Any = KafkaConsumer(
            **self._options, enable_auto_commit=False, auto_offset_reset="earliest", max_partition_fetch_bytes=64 * 1024
        )
        try:
            consumer.assign(list(offsets))
            for partition, offset in offsets.items():
                consumer.seek(partition, offset)
            return _first_records(consumer, offsets)
        finally:
            consumer.close()


def _first_records(
    consumer: Any, offsets: Mapping[TopicPartition, int]
) -> dict[TopicPartition, tuple[str | None, int]]:
    found: dict[TopicPartition, tuple[str | None, int]] = {}
    seen: set[TopicPartition] = set()
    deadline = time.monotonic() + _RECORDS_WAIT_S
    while len(seen) < len(offsets) and time.monotonic() < deadline:
        for partition, records in consumer.poll(timeout_ms=int(_RETRY_S * 1000)).items():
            if partition not in seen and records[0].offset == offsets[partition]:
                found[partition] = (_name(records[0].key), records[0].timestamp)
            seen.add(partition)
    return found


def _name(key: bytes | None) -> str | None:
    return key.decode("utf-8", "replace").partition("#")[0] if key else None


def _member(described: Mapping[str, Any]) -> Member:
    # Bytes where it is not a consumer's; empty text where the member joins just now.
    assignment = described["member_assignment"]
    assigned = assignment["assigned_partitions"] if isinstance(assignment, Mapping) else ()
    return Member(
        described["client_id"],
        described["client_host"].lstrip("/"),
        frozenset(TopicPartition(one["topic"], number) for one in assigned for number in one["partitions"]),
    )


def _patiently(ask: Callable[[], T]) -> T:
    """Ask again while a cluster that is new makes its coordinator."""
    deadline = time.monotonic() + _COORDINATOR_WAIT_S
    while True:
        try:
            return ask()
        except kafka_errors.KafkaError as error:
            if not error.retriable or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_S)


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except kafka_errors.KafkaError as error:
        raise UnavailableError(f"Kafka does not answer ({type(error).__name__}); check brokers") from error
