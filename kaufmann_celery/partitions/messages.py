"""What the consumer's thread tells the ingester's loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition

from kaufmann_celery.partitions.commit_metadata import Committed


@dataclass(frozen=True, slots=True)
class Assigned:
    """Partitions this member owns from now on, each with what Kafka holds as finished."""

    generation: int
    member: str
    cluster_id: str
    #: Counts assignments: a request made before this message was heard is not for these partitions.
    epoch: int
    #: partition -> (topic's UUID, commit)
    partitions: Mapping[TopicPartition, tuple[str, Committed]]
    #: All partitions owned now, those kept included: their scripts carry the new generation too.
    owned: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class Unstable:
    """What is committed for a partition cannot be read: it may be in a transaction that its last owner left open."""

    partition: TopicPartition
    cluster_id: str
    topic_id: str
    generation: int


@dataclass(frozen=True, slots=True)
class Revoked:
    """Partitions this member owns no more."""

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition, and the consumer's position after them."""

    partition: TopicPartition
    records: list[Any]
    position: int


@dataclass(frozen=True, slots=True)
class CommitDone:
    """The answer to a commit; *error* is None where Kafka has it."""

    commits: Mapping[TopicPartition, Committed]
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class ConsumerDied:
    """The consumer's thread ended by an error; the ingester ends with it."""

    error: BaseException


def offsets_by_place(commits: Mapping[TopicPartition, Committed]) -> dict[tuple[str, int], int]:
    """Return the offsets of *commits* by topic and partition."""
    return {(where.topic, where.partition): commit.offset for where, commit in commits.items()}


def offsets_of(commits: Mapping[TopicPartition, Committed]) -> dict[TopicPartition, Any]:
    """Return *commits* as kafka-python takes them."""
    return {partition: OffsetAndMetadata(commit.offset, commit.metadata(), -1) for partition, commit in commits.items()}
