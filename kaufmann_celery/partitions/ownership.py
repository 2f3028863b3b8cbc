"""Which partitions this ingester owns: taken over in the ledger first, and read only once Kafka knows the ledger."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.ledger import UNTAGGED, Fenced, LedgerAddress, LedgerConnection, OwnerLedger
from kaufmann_celery.partitions.commit_metadata import Committed, incarnation_of
from kaufmann_celery.partitions.messages import Assigned
from kaufmann_celery.partitions.owned import OwnedPartition

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A partition assigned to this member of the group."""

    partition: TopicPartition
    generation: int
    member: str
    cluster_id: str
    topic_id: str
    #: What Kafka holds as finished; without an incarnation where no ledger of ours belongs to it yet.
    committed: Committed
    #: The question, left in the ledger, after which Kafka took that commit from us in this generation.
    vouched: str = ""


@dataclass(frozen=True, slots=True)
class _Question:
    """Left in a ledger that is empty, another's, or a later owner's: is it mine? Kafka answers, by taking a commit."""

    word: str
    #: On its way to Kafka; None = it has yet to be sent.
    commit: Committed | None = None


class Ownership:
    """Partitions on their way from assigned to owned. Used under the ingester's lock."""

    def __init__(
        self,
        config: Config,
        connection: LedgerConnection,
        *,
        wake: str,
        begin: Callable[[TopicPartition, int], None],
        reopen: Callable[[TopicPartition, Committed | None], None],
        step: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._connection = connection
        self._wake = wake
        self._begin = begin
        self._reopen = reopen
        self._step = step
        self._assigned: dict[TopicPartition, Assignment] = {}
        self._asked: dict[TopicPartition, _Question] = {}
        #: Owned and being read.
        self.owned: dict[TopicPartition, OwnedPartition] = {}
        #: Events outstanding in partitions that were let go of to be taken over again.
        self._let_go: dict[TopicPartition, int] = {}

    @property
    def outstanding(self) -> int:
        """Events that hold a slot of `max_demand`, also of partitions that are about to be taken over again."""
        return sum(owned.outstanding for owned in self.owned.values()) + sum(self._let_go.values())

    def __iter__(self) -> Iterator[OwnedPartition]:
        return iter(list(self.owned.values()))

    def heard(self, message: Assigned) -> None:
        """Note an assignment: what is new in it, and what was kept."""
        for partition in message.owned - message.partitions.keys():
            self.kept(partition, message.generation)
        for partition, (topic_id, committed) in message.partitions.items():
            self.assigned(
                Assignment(partition, message.generation, message.member, message.cluster_id, topic_id, committed)
            )
        names = ", ".join(sorted(f"{one.topic}:{one.partition}" for one in message.partitions))
        log.info("assigned %s in generation %d", names or "nothing", message.generation, extra={"action": "assigned"})

    def assigned(self, assignment: Assignment) -> None:
        """Note a partition that is to be taken over."""
        let_go = self._let_go.get(assignment.partition, 0)
        self.drop(assignment.partition)
        self._assigned[assignment.partition] = assignment
        self._let_go[assignment.partition] = let_go

    def kept(self, partition: TopicPartition, generation: int) -> None:
        """Note a partition kept through a rebalance: its scripts carry the new generation from now on."""
        if partition in self.owned:
            self.owned[partition].ledger.generation = generation
        if partition in self._assigned:
            self._assigned[partition] = replace(self._assigned[partition], generation=generation)

    def drop(self, *partitions: TopicPartition) -> None:
        """Forget partitions."""
        for partition in partitions:
            self._assigned.pop(partition, None)
            self._asked.pop(partition, None)
            self.owned.pop(partition, None)
            self._let_go.pop(partition, None)

    def take_over(self) -> None:
        """Take assigned partitions over in the ledger, and begin to read them.

        Raises `UnavailableError` where Redis is away; what was not taken over then is next time.
        """
        for assignment in list(self._assigned.values()):
            if assignment.partition in self._asked:
                continue
            owned = self._own(assignment)
            if owned is not None:
                del self._assigned[assignment.partition]
                self._let_go.pop(assignment.partition, None)
                self.owned[owned.partition] = owned
                self._begin(owned.partition, owned.committed.offset)

    def unpinned(self) -> dict[TopicPartition, Committed]:
        """Return the commits that have to land before ledgers are made: what was found, with the ledger's incarnation.

        Kafka takes them from the group's present generation alone, so nobody who slept through a rebalance makes a
        ledger in the place of one that lives, or of one that was emptied meanwhile. A new history of offsets gets its
        incarnation here, and the start of `latest` is pinned.
        """
        commits = {}
        for partition, question in list(self._asked.items()):
            if question.commit is None:
                found, topic_id = self._assigned[partition].committed, self._assigned[partition].topic_id
                incarnation = found.incarnation or incarnation_of(topic_id, uuid.uuid4().hex[:12])
                commits[partition] = replace(found, incarnation=incarnation)
                self._asked[partition] = replace(question, commit=commits[partition])
        return commits

    def answered(self, commits: Mapping[TopicPartition, Committed], error: BaseException | None) -> None:
        """Note Kafka's answer to *commits*. What an earlier assignment asked for vouches for nothing."""
        for partition, committed in commits.items():
            question = self._asked.get(partition)
            if question is None or question.commit != committed:
                continue
            if error is not None:
                self._asked[partition] = replace(question, commit=None)
                continue
            del self._asked[partition]
            self._assigned[partition] = replace(self._assigned[partition], committed=committed, vouched=question.word)

    def guarded(self, owned: OwnedPartition, call: Callable[[OwnedPartition], None]) -> None:
        """Call; drop the partition where another ingester has it, rebuild it from Kafka where its ledger is gone."""
        # A call may wait for a service that is away; that it does so in many partitions is no hang.
        self._step()
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

    def reread(self, owned: OwnedPartition) -> None:
        """Let go of a partition, to take it over again from what Kafka then says: it is not known what is committed."""
        self.drop(owned.partition)
        self._let_go[owned.partition] = owned.outstanding
        self._reopen(owned.partition, None)

    def _own(self, assignment: Assignment) -> OwnedPartition | None:
        config, partition = self._config, assignment.partition
        address = LedgerAddress(
            config.redis_prefix,
            assignment.cluster_id,
            config.consumer_group,
            assignment.topic_id,
            partition.partition,
        )
        # In the ordered modes, and with one event at a time, what waits for its retry keeps its slot. And what others
        # sent begins no more: a task that outlives a loss of Redis' data would begin beside one that runs again.
        is_ordered = config.max_demand == 1 or config.ordering != "unordered"
        ledger = OwnerLedger(
            self._connection, address.base, generation=assignment.generation, member=assignment.member,
            tag=uuid.uuid4().hex[:8] if is_ordered else UNTAGGED,
        )  # fmt: skip
        question = _Question(uuid.uuid4().hex[:12])
        try:
            claimed, reported, marked = ledger.own(
                assignment.committed, wake=self._wake, question=question.word, vouched=assignment.vouched
            )
        except Fenced as error:
            self._refused(assignment, question, lost=error.lost)
            return None
        owned = OwnedPartition(partition, ledger, assignment.committed, waiting_holds=is_ordered)
        owned.adopt(claimed | reported)
        owned.finished_early |= marked
        return owned

    def _refused(self, assignment: Assignment, question: _Question, *, lost: bool) -> None:
        partition = assignment.partition
        self._asked[partition] = question
        if not lost:
            log.warning("%s:%d is owned by a later generation: Kafka is asked", *partition, extra={"action": "fenced"})
        elif assignment.committed.incarnation is not None:
            log.info("the ledger of %s:%d is made anew: Kafka is asked first", *partition, extra={"action": "rebuild"})
