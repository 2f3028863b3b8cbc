"""Which partitions this ingester owns: taken over in the ledger first, and read only once Kafka knows the ledger."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from kafka import TopicPartition

from kaufmann_celery.commit_metadata import Committed
from kaufmann_celery.config import Config
from kaufmann_celery.ledger import Fenced, LedgerAddress, LedgerConnection, OwnerLedger
from kaufmann_celery.partition import OwnedPartition

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A partition assigned to this member of the group."""

    partition: TopicPartition
    generation: int
    member: str
    cluster_id: str
    topic_id: str
    #: What Kafka holds as finished.
    committed: Committed


class Ownership:
    """Partitions on their way from assigned to owned. Used under the ingester's lock."""

    def __init__(
        self,
        config: Config,
        connection: LedgerConnection,
        *,
        wake: str,
        begin: Callable[[TopicPartition, int], None],
        reopen: Callable[[TopicPartition, Committed], None],
    ) -> None:
        self._config = config
        self._connection = connection
        self._wake = wake
        self._begin = begin
        self._reopen = reopen
        self._assigned: dict[TopicPartition, Assignment] = {}
        self._unpinned: dict[TopicPartition, OwnedPartition] = {}
        #: Owned and being read.
        self.owned: dict[TopicPartition, OwnedPartition] = {}

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(list(self.owned.values()))

    def assigned(self, assignment: Assignment) -> None:
        """Note a partition that is to be taken over."""
        self.drop(assignment.partition)
        self._assigned[assignment.partition] = assignment

    def kept(self, partition: TopicPartition, generation: int) -> None:
        """Note a partition kept through a rebalance: its scripts carry the new generation from now on."""
        for known in (self.owned, self._unpinned):
            if partition in known:
                known[partition].ledger.generation = generation

    def drop(self, partition: TopicPartition) -> None:
        """Forget a partition."""
        for known in (self._assigned, self._unpinned, self.owned):
            known.pop(partition, None)

    def take_over(self) -> list[OwnedPartition]:
        """Take assigned partitions over in the ledger; return those that can be read at once.

        Raises `UnavailableError` where Redis is away; what was not taken over then is next time.
        """
        begun = []
        for assignment in list(self._assigned.values()):
            owned = self._own(assignment)
            del self._assigned[assignment.partition]
            if owned is None:
                continue
            if owned.committed.incarnation == owned.ledger.incarnation:
                begun.append(self._start(owned))
            else:
                self._unpinned[owned.partition] = owned
        return begun

    def unpinned(self) -> dict[TopicPartition, Committed]:
        """Return the commits that pin a ledger's incarnation. Nothing is claimed before Kafka has them."""
        return {
            partition: Committed(
                owned.committed.offset, owned.committed.highest, owned.committed.unfinished, owned.ledger.incarnation
            )
            for partition, owned in self._unpinned.items()
        }

    def pinned(self, partition: TopicPartition, committed: Committed) -> None:
        """Note that Kafka has a commit: the partition can be read, where it waited for that."""
        owned = self._unpinned.get(partition)
        if owned is not None and owned.ledger.incarnation == committed.incarnation:
            del self._unpinned[partition]
            owned.committed = committed
            self._start(owned)

    def guarded(self, owned: OwnedPartition, call: Callable[[OwnedPartition], None]) -> None:
        """Call; drop the partition where another ingester has it, rebuild it from Kafka where its ledger is gone."""
        try:
            call(owned)
        except Fenced as error:
            log.warning(
                "the ledger of %s:%d is %s",
                *owned.partition,
                "gone: rebuilt from Kafka" if error.lost else "another ingester's now",
                extra={"action": "fenced"},
            )
            self.drop(owned.partition)
            if error.lost:
                self._reopen(owned.partition, owned.watermark.committed(owned.ledger.incarnation))

    def _start(self, owned: OwnedPartition) -> OwnedPartition:
        self.owned[owned.partition] = owned
        self._begin(owned.partition, owned.committed.offset)
        return owned

    def _own(self, assignment: Assignment) -> OwnedPartition | None:
        config, partition = self._config, assignment.partition
        address = LedgerAddress(
            config.redis_prefix,
            assignment.cluster_id,
            config.consumer_group,
            assignment.topic_id,
            partition.partition,
        )
        ledger = OwnerLedger(self._connection, address.base, generation=assignment.generation, member=assignment.member)
        try:
            claimed, reported, marked = ledger.own(assignment.committed, wake=self._wake, fresh=uuid.uuid4().hex[:12])
        except Fenced:
            log.warning("%s:%d is owned by a later generation", *partition, extra={"action": "fenced"})
            return None
        # In the ordered modes, and with one event at a time, what waits for its retry keeps its slot.
        holds = config.max_demand == 1 or config.ordering != "unordered"
        owned = OwnedPartition(partition, ledger, assignment.committed, waiting_holds=holds)
        owned.adopted |= claimed | reported
        owned.finished_early |= marked
        return owned
