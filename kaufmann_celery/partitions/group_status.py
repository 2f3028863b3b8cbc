"""How far a consumer group is, partition by partition: from Kafka's commits and the ledger. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka import TopicPartition

from kaufmann_celery.kafka_io.group_offsets import GroupReader, KafkaView, Member
from kaufmann_celery.ledger import LedgerAddress, connect
from kaufmann_celery.ledger.reading import Claim, LedgerView, read
from kaufmann_celery.partitions.commit_metadata import Committed

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.config import Config


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One partition. Events are `outstanding` from their claim until they are settled."""

    topic: str
    partition: int
    #: Member id and host of the ingester that has it; None where none has.
    owner: str | None
    #: None where the group has not committed.
    committed: int | None
    #: The first offset still there, and the one after the last that may be read.
    first: int
    end: int
    outstanding: int
    running: int
    waiting_for_retry: int
    #: Finished though something before them is not.
    finished_above: int
    #: The lowest unfinished offset, which holds the commit back; None where nothing is outstanding.
    blocking_offset: int | None = None
    #: Its event's name where the record key says it.
    blocking_name: str | None = None
    #: Seconds since its record's timestamp, else since it was claimed; None where neither is known.
    blocking_age_s: float | None = None

    @property
    def lag(self) -> int:
        """Offsets from the committed one (the first one without) to the end."""
        return max(0, self.end - max(self.first, self.committed or 0))


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """A consumer group and the partitions it is to consume."""

    group: str
    #: Kafka's word: `Stable`, `Empty`, `Dead`, `PreparingRebalance` …
    state: str
    #: False where no member ever joined and nothing was committed.
    exists: bool
    partitions: tuple[PartitionStatus, ...]
    #: Subscribed topics that Kafka does not have.
    missing_topics: tuple[str, ...] = ()

    @property
    def lag(self) -> int:
        """The lag of all partitions together."""
        return sum(one.lag for one in self.partitions)


def read_status(kaufmann: Kaufmann, *, connect_timeout: float = 8.0) -> GroupStatus:
    """Return how far the service's group is. Blocks; raises `UnavailableError` where Kafka or Redis is away.

    *connect_timeout* is how long the first connection to Kafka may take, in seconds.
    """
    config = kaufmann.config
    reader = GroupReader(config, connect_timeout=connect_timeout)
    try:
        view = reader.view()
        ledgers = _ledgers(kaufmann, view)
        blocking = {
            partition: offset
            for partition in view.ends
            if (offset := blocking_offset(view.commits.get(partition), ledgers[partition])) is not None
        }
        records = reader.records(blocking)
    finally:
        reader.close()
    now = time.time()
    return GroupStatus(
        config.consumer_group,
        view.state,
        view.state != "Dead" or bool(view.commits),
        tuple(
            _status(view, partition, ledgers[partition], blocking.get(partition), records.get(partition), now)
            for partition in sorted(view.ends)
        ),
        view.missing_topics,
    )


def _ledgers(kaufmann: Kaufmann, view: KafkaView) -> Mapping[TopicPartition, LedgerView]:
    connection = connect(kaufmann.config.redis_url, kaufmann.transport_options)
    try:
        bases = [ledger_base(kaufmann.config, view, partition) for partition in view.ends]
        return dict(zip(view.ends, read(connection, bases), strict=True))
    finally:
        connection.close()


def ledger_base(config: Config, view: KafkaView, partition: TopicPartition) -> str:
    """Return where in Redis the ledger of a partition stands."""
    topic_id = view.topic_ids[partition.topic]
    address = LedgerAddress(config.redis_prefix, view.cluster_id, config.consumer_group, topic_id, partition.partition)
    return address.base


def blocking_offset(committed: Committed | None, ledger: LedgerView) -> int | None:
    """Return the lowest offset that is outstanding, as the ledger knows it, else as the last commit does."""
    for offset in ledger.unfinished:
        if committed is None or not committed.holds(offset):
            return offset
    left = [offset for offset in (committed.unfinished if committed else ()) if offset not in ledger.marks]
    return left[0] if left else None


def finished_above(committed: Committed | None, ledger: LedgerView, blocking: int | None) -> int:
    """Return how many are finished above the lowest unfinished offset: by the commit, or by a mark since."""
    if committed is None or blocking is None:
        return 0
    span = range(max(blocking, committed.offset), committed.highest + 1)
    by_commit = len(span) - sum(offset in span for offset in committed.unfinished)
    return by_commit + sum(offset > blocking and not committed.holds(offset) for offset in ledger.marks)


def _status(
    view: KafkaView,
    partition: TopicPartition,
    ledger: LedgerView,
    blocking: int | None,
    record: tuple[str | None, int] | None,
    now: float,
) -> PartitionStatus:
    committed = view.commits.get(partition)
    return PartitionStatus(
        topic=partition.topic,
        partition=partition.partition,
        owner=_owner(view.members, partition),
        committed=committed.offset if committed else None,
        first=view.firsts[partition],
        end=view.ends[partition],
        outstanding=len(ledger.unfinished),
        running=len(ledger.leased),
        waiting_for_retry=len(ledger.waiting),
        finished_above=finished_above(committed, ledger, blocking),
        blocking_offset=blocking,
        blocking_name=record[0] if record else None,
        blocking_age_s=None if blocking is None else _age(record, ledger.claims.get(blocking), now),
    )


def _age(record: tuple[str | None, int] | None, claim: Claim | None, now: float) -> float | None:
    if record is not None:
        return round(max(0.0, now - record[1] / 1000), 3)
    return None if claim is None else round(claim.age_s, 3)


def _owner(members: Iterable[Member], partition: TopicPartition) -> str | None:
    return next((f"{one.client_id}@{one.host}" for one in members if partition in one.partitions), None)
