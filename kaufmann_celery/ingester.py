"""The ingester: the loop that joins the steps. consume -> decode -> dispatch == workers == settle -> commit.

One thread turns this loop and owns all state. It may wait for Redis, Celery, the registry or Kafka; the consumer's
thread polls on meanwhile. Whatever stops a step leaves its events where they were, and the step is made again.
"""

from __future__ import annotations

import faulthandler
import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition

from kaufmann_celery import consume
from kaufmann_celery.commit import CommitClock, CommitPolicy
from kaufmann_celery.commit_metadata import Committed
from kaufmann_celery.decode import Decoder
from kaufmann_celery.dispatch import Dispatcher
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.failures import Failures
from kaufmann_celery.ledger import Fenced, LedgerAddress, OwnerLedger
from kaufmann_celery.ledger.address import wake_channel
from kaufmann_celery.partition import OwnedPartition
from kaufmann_celery.publish import KafkaOut
from kaufmann_celery.settle import Counts, Settler
from kaufmann_celery.transcoders.reading import AvroReader
from kaufmann_celery.until_end import UntilEnd
from kaufmann_celery.wake import WakeListener, Woken
from kaufmann_celery.worker import WorkerRuntime

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

log = logging.getLogger(__name__)

#: Seconds between looks at every partition, whatever the workers say.
_SWEEP_S = 0.5
#: Seconds the loop waits for something to happen.
_IDLE_S = 0.2
#: Seconds before a step is tried again that a service's absence stopped.
_BLOCKED_S = 0.5
#: A loop that has not turned for this long is dead: its process dumps its stacks and ends.
_HANG_S = 120.0
#: Bytes and number of outcomes taken from the ledger at a time.
_ROUND_BYTES = 4 * 1024 * 1024
_ROUND_EVENTS = 1000


class Ingester:
    """Consumes the service's topics until told to stop. Made by `Kaufmann.ingester()`."""

    def __init__(
        self, kaufmann: Kaufmann, *, topics: Iterable[str] | None = None, until_end: bool = False
    ) -> None:
        self._kaufmann = kaufmann
        self.config = config = kaufmann.config
        self._topics = list(topics or config.subscription_topics)
        self._inbox: SimpleQueue[Any] = SimpleQueue()
        self._turning = threading.Lock()
        self._stop = threading.Event()
        self.counts = Counts()
        self._runtime = runtime = WorkerRuntime(kaufmann)
        self._kafka = KafkaOut(config)
        self._failures = Failures(config, runtime.error_events)
        self._settler = Settler(self._kafka, self._failures, self.counts)
        reader = AvroReader(runtime.registry, kaufmann.local_schemas)
        decoder = Decoder(
            kaufmann.handlers, reader, group=config.consumer_group, max_event_bytes=config.max_event_bytes
        )
        self._dispatcher = Dispatcher(kaufmann, decoder, self._failures, nudge=self._nudge)
        self._clock = CommitClock(
            CommitPolicy(config.commit_threshold, config.commit_interval), time.monotonic()
        )
        self._owned: dict[TopicPartition, OwnedPartition] = {}
        self._opening: dict[TopicPartition, tuple[consume.Assigned, str, Committed]] = {}
        #: Owned, and the incarnation in its commit not yet acknowledged: nothing is claimed before.
        self._pinning: dict[TopicPartition, OwnedPartition] = {}
        self._woken: set[str] = set()
        self._swept_at = self._beat_at = 0.0
        #: After a fault of Redis no lease is expired for one full lease: its holder could not renew it.
        self._no_expiry_until = time.monotonic() + config.lease
        self._channel = wake_channel(config.redis_prefix, uuid.uuid4().hex)
        self._wake = WakeListener(runtime.ledger, self._channel, self._inbox)
        self._consumption = consume.Consumption(
            config, self._topics, self._inbox,
            settling=self._turning, on_revoke=self._commits_of, wants=self._wants, beat=self._beat,
        )  # fmt: skip
        self._until_end = UntilEnd(config, self._topics) if until_end else None

    def run(self) -> None:
        """Consume until `stop()`, or with `until_end` until all that was there at the start is committed. Blocks.

        Raises what the consumer cannot go on from; the process should then end, and be started again.
        """
        log.info(
            "ingester of %s: topics %s, group %s, max_demand %d",
            self.config.service, ",".join(self._topics), self.config.consumer_group, self.config.max_demand,
            extra={"action": "start"},
        )  # fmt: skip
        if self._until_end is not None:
            self._until_end.start()
        self._wake.start()
        self._consumption.start()
        try:
            while not self._stop.is_set() and not self._is_done():
                self._turn(self._wait())
            self._drain()
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._consumption.stop(self.config.shutdown_timeout / 2)
            self._wake.stop()
            self._kafka.close(timeout_s=1.0)
        log.info(
            "ingester stopped: %d handled, %d failed, %d records published",
            self.counts.handled, self.counts.failed, self.counts.published,
            extra={"action": "stop"},
        )  # fmt: skip

    def stop(self) -> None:
        """Have `run()` settle what is finished, commit and return. May be called from any thread or signal handler."""
        self._stop.set()
        self._inbox.put(Woken())

    @property
    def _is_ordered(self) -> bool:
        return self.config.ordering != "unordered"

    @property
    def outstanding(self) -> int:
        """Events dispatched and not finished, over all partitions."""
        return sum(owned.outstanding for owned in self._owned.values())

    def _wait(self) -> list[Any]:
        """Return what came in, waiting a moment for it."""
        messages: list[Any] = []
        try:
            wait = (
                0.005
                if self._dispatcher.is_busy
                else min(_IDLE_S, self._dispatcher.next_due(time.monotonic()))
            )
            messages.append(self._inbox.get(timeout=wait))
            while True:
                messages.append(self._inbox.get_nowait())
        except Empty:
            return messages

    def _turn(self, messages: Iterable[Any]) -> None:
        """One turn of the loop. The lock keeps a revoke out of the middle of it."""
        self._beat_at = time.monotonic()
        with self._turning:
            for message in messages:
                self._hear(message)
            for step in (self._open, self._look, self._dispatch, self._commit):
                self._try(step)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except UnavailableError as error:
            log.warning("%s; waiting", error, extra={"action": "wait"})
            self._no_expiry_until = time.monotonic() + self.config.lease
            self._inbox.put(Woken())
            self._stop.wait(_BLOCKED_S)

    def _hear(self, message: Any) -> None:
        match message:
            case consume.Fetched(partition, records, position):
                if owned := self._owned.get(partition):
                    owned.fetched.extend(records)
                    owned.read_to = position
            case Woken(base, pattern, events, seconds):
                self._woken.add(base)
                if events:
                    self._dispatcher.grouping.learn(pattern, events, seconds)
            case consume.Assigned():
                self._assigned(message)
            case consume.Revoked(partitions):
                for partition in partitions:
                    self._drop(partition)
            case consume.CommitDone(commits, error):
                self._committed(commits, error)
            case consume.ConsumerDied(error):
                raise error

    def _assigned(self, message: consume.Assigned) -> None:
        for partition in message.owned - message.partitions.keys():
            if owned := self._owned.get(partition):
                owned.ledger.generation = message.generation
        for partition, (topic_id, committed, _) in message.partitions.items():
            self._drop(partition)
            self._opening[partition] = (message, topic_id, committed)
        if message.partitions:
            log.info(
                "assigned %s in generation %d", _names(message.partitions), message.generation,
                extra={"action": "assigned"},
            )  # fmt: skip

    def _open(self) -> None:
        """Take newly assigned partitions over in the ledger; begin to read those whose incarnation is committed."""
        for partition, (message, topic_id, committed) in list(self._opening.items()):
            address = LedgerAddress(
                self.config.redis_prefix, message.cluster_id, self.config.consumer_group, topic_id,
                partition.partition,
            )  # fmt: skip
            ledger = OwnerLedger(
                self._runtime.ledger, address.base, generation=message.generation, member=message.member
            )
            try:
                claimed, reported, marked = ledger.own(
                    committed, wake=self._channel, fresh=uuid.uuid4().hex[:12]
                )
            except Fenced:
                log.warning("%s is owned by a later generation", partition, extra={"action": "fenced"})
                del self._opening[partition]
                continue
            owned = OwnedPartition(
                partition, ledger, committed, waiting_holds=self.config.max_demand == 1 or self._is_ordered
            )
            owned.adopted |= claimed | reported
            owned.finished_early |= marked
            del self._opening[partition]
            if committed.incarnation == ledger.incarnation:
                self._begin(owned)
            else:
                self._pinning[partition] = owned
        unpinned = {partition: self._pin(owned) for partition, owned in self._pinning.items()}
        if unpinned and not self._clock.in_flight:
            self._send_commit(unpinned)

    def _pin(self, owned: OwnedPartition) -> Committed:
        kept = owned.committed
        return Committed(kept.offset, kept.highest, kept.unfinished, owned.ledger.incarnation)

    def _begin(self, owned: OwnedPartition) -> None:
        self._owned[owned.partition] = owned
        self._woken.add(owned.ledger.base)
        self._consumption.begin(owned.partition, owned.committed.offset)

    def _look(self) -> None:
        """Ask the ledger what happened, where a worker reported or it is time; settle what is finished."""
        now = time.monotonic()
        everywhere = "" in self._woken or now - self._swept_at >= _SWEEP_S
        if everywhere:
            self._swept_at = now
        woken, self._woken = self._woken, set()
        for owned in list(self._owned.values()):
            if owned.forgettable is not None:
                self._fenced(owned, _forget)
            if owned.ledger.base in woken or (everywhere and (owned.pending or owned.adopted)):
                self._woken.add(owned.ledger.base)
                self._fenced(owned, self._settle)
                self._woken.discard(owned.ledger.base)

    def _settle(self, owned: OwnedPartition) -> None:
        may_expire = time.monotonic() >= self._no_expiry_until
        turn = owned.ledger.turn(may_expire=may_expire, max_bytes=_ROUND_BYTES, limit=_ROUND_EVENTS)
        self._dispatcher.raised(owned, turn)
        if turn.outcomes:
            self._settler.settle(owned, turn.outcomes)
            # More may wait than one round holds.
            self._inbox.put(Woken(owned.ledger.base))

    def _dispatch(self) -> None:
        if self._stop.is_set():
            return
        self._dispatcher.take(list(self._owned.values()), self._fenced)

    def _commit(self) -> None:
        finished = sum(owned.uncommitted for owned in self._owned.values())
        if self._clock.is_due(finished, time.monotonic()) or (finished and self._is_settled()):
            if not self._clock.in_flight:
                self._send_commit(self._commits_of(frozenset(self._owned)))

    def _is_settled(self) -> bool:
        """Return whether `until_end` only waits for its commit."""
        return self._until_end is not None and self._until_end.is_settled(self._owned)

    def _is_done(self) -> bool:
        return self._until_end is not None and self._until_end.is_committed(self._owned)

    def _commits_of(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        """Return what to commit now for *partitions*. Called under the lock."""
        return {
            partition: owned.watermark.committed(owned.ledger.incarnation)
            for partition in partitions
            if (owned := self._owned.get(partition)) and owned.uncommitted
        }

    def _send_commit(self, commits: Mapping[TopicPartition, Committed]) -> None:
        if not commits:
            return
        for partition in commits:
            if owned := self._owned.get(partition):
                owned.uncommitted = 0
        self._clock.sent(time.monotonic())
        self._consumption.commit(commits)

    def _committed(self, commits: Mapping[TopicPartition, Committed], error: BaseException | None) -> None:
        self._clock.answered()
        for partition, committed in commits.items():
            pinned = self._pinning.pop(partition, None) if error is None else None
            if pinned is not None and pinned.ledger.incarnation == committed.incarnation:
                pinned.committed = committed
                self._begin(pinned)
            owned = self._owned.get(partition)
            if owned is None or pinned is not None:
                continue
            if error is None:
                owned.committed = committed
                owned.forgettable = committed
            else:
                owned.uncommitted += 1
        if error is not None:
            log.warning(
                "commit failed: %s; trying again", type(error).__name__, extra={"action": "commit_failed"}
            )

    def _fenced(self, owned: OwnedPartition, call: Callable[[OwnedPartition], None]) -> None:
        """Call, and drop the partition where another ingester has it; where its ledger is gone, rebuild from Kafka."""
        try:
            call(owned)
        except Fenced as error:
            log.warning(
                "the ledger of %s is %s", owned.partition, "gone" if error.lost else "another's now",
                extra={"action": "fenced"},
            )  # fmt: skip
            self._drop(owned.partition)
            if error.lost:
                self._consumption.reopen(owned.partition, owned.watermark.committed(owned.ledger.incarnation))

    def _drop(self, partition: TopicPartition) -> None:
        self._opening.pop(partition, None)
        self._pinning.pop(partition, None)
        self._owned.pop(partition, None)

    def _drain(self) -> None:
        """Settle what is finished and commit it, within the time that a stop may take."""
        deadline = time.monotonic() + self.config.shutdown_timeout / 2
        self._woken.add("")
        self._turn([])
        while time.monotonic() < deadline and (self._clock.in_flight or self._unsent()):
            if not self._clock.in_flight:
                with self._turning:
                    self._send_commit(self._commits_of(frozenset(self._owned)))
            self._turn(self._wait())

    def _unsent(self) -> bool:
        return any(owned.uncommitted for owned in self._owned.values())

    def _nudge(self, base: str) -> None:
        """Look at a partition's ledger in the next turn."""
        self._inbox.put(Woken(base))

    def _wants(self, partition: TopicPartition) -> bool:
        """Return whether the consumer should read on. Called in its thread; reads two lengths."""
        owned = self._owned.get(partition)
        return owned is not None and owned.wants_records

    def _beat(self) -> None:
        """Keep the process alive for another while, as long as both loops turn. Called in the consumer's thread."""
        if time.monotonic() - self._beat_at < _HANG_S or not self._beat_at:
            faulthandler.dump_traceback_later(_HANG_S, exit=True, file=sys.stderr)


def _forget(owned: OwnedPartition) -> None:
    if owned.forgettable is not None:
        owned.ledger.forget(owned.forgettable)
        owned.forgettable = None


def _names(partitions: Iterable[TopicPartition]) -> str:
    return ", ".join(sorted(f"{one.topic}:{one.partition}" for one in partitions))
