"""What the ingester knows of one partition it owns. Memory only; the ledger and Kafka hold what must survive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from kafka import TopicPartition

from kaufmann_celery.event import Position
from kaufmann_celery.ledger import FIRST, Claimed, OwnerLedger, Raised
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.lanes import Lanes
from kaufmann_celery.partitions.pending import Pending
from kaufmann_celery.partitions.watermark import Watermark
from kaufmann_celery.tasks.envelope import Decoded

#: Offsets read ahead of the loop, per partition, before the partition is paused; fewer where they are more bytes.
_READ_AHEAD, _READ_AHEAD_BYTES = 600, 512 * 1024
_WAITS = attrgetter("waiting")


class OwnedPartition:
    """One partition: records read, events pending, and how far all is finished."""

    def __init__(
        self, partition: TopicPartition, ledger: OwnerLedger, committed: Committed, *, waiting_holds: bool = False
    ) -> None:
        self.partition = partition
        self.ledger = ledger
        #: Whether an event that waits for its retry keeps its slot.
        self.waiting_holds = waiting_holds
        #: The consumer's position after what is in `fetched`.
        self.read_to = committed.offset
        #: What the last acknowledged commit holds as finished.
        self.committed = committed
        self.watermark = Watermark(committed.offset, committed)
        #: Read and not yet looked at; looked at, but held back until a slot is free; and what the first of `fetched`
        #: are, by offset, where they were decoded before there is a slot.
        self.fetched: deque[Any] = deque()
        self.held: deque[Any] = deque()
        self.decoded_ahead: deque[tuple[int, Decoded | None]] = deque()
        self._read_ahead = _READ_AHEAD
        #: Decoded and not yet claimed.
        self.decoded: deque[Pending] = deque()
        #: Claimed and to be handed to Celery.
        self.ready: deque[Pending] = deque()
        #: Claimed and to be concluded here: failures that no worker reports.
        self.failing: deque[Pending] = deque()
        self.pending: dict[int, Pending] = {}
        self.lanes = Lanes()
        #: Read, and waiting unclaimed for those before them in their lanes.
        self.parked: set[int] = set()
        #: Claims of a predecessor whose records have not been read again yet.
        self.adopted: set[int] = set()
        #: Finished before their records were read: by a mark in the ledger, or settled since.
        self.finished_early: set[int] = set()
        #: An acknowledged commit whose marks the ledger may drop.
        self.forgettable: Committed | None = None
        #: Events finished since the last commit was sent.
        self.uncommitted = 0
        self._cover = committed
        self._unfinished_in_cover = frozenset(committed.unfinished)
        #: Where the record stands that `records` gave last.
        self._source = self.fetched
        #: Adopted offsets that the position has not reached yet, ascending; and those that no handler wants any more.
        self._ahead: deque[int] = deque()
        self._unwanted: set[int] = set()

    def adopt(self, offsets: Iterable[int]) -> None:
        """Note a predecessor's claims and outcomes. Called once, before any record is read."""
        self.adopted.update(offsets)
        self._ahead.extend(sorted(self.adopted))

    def position_of(self, offset: int) -> Position:
        """Return where the record with *offset* stands."""
        return Position(self.partition.topic, self.partition.partition, offset)

    @property
    def outstanding(self) -> int:
        """Events that hold a slot of `max_demand`."""
        waiting = 0 if self.waiting_holds else sum(map(_WAITS, self.pending.values()))
        return len(self.pending) - waiting + len({*self.adopted, *(one.offset for one in self.decoded)})

    @property
    def is_awaited(self) -> bool:
        """Return whether workers may report something."""
        return bool(self.pending or self.adopted)

    def read(self, records: Sequence[Any], read_to: int) -> None:
        """Take what the consumer has read, up to the position *read_to*."""
        self.fetched.extend(records)
        self.read_to = read_to
        if records:
            size = sum(len(record.value or b"") for record in records) // len(records)
            self._read_ahead = max(1, min(_READ_AHEAD, _READ_AHEAD_BYTES // (size + 1)))

    def wants_records(self, read_to: int) -> bool:
        """Return whether the consumer should go on from *read_to*: adopted claims are never held back."""
        return read_to - self.watermark.position < self._read_ahead or bool(self.adopted)

    def is_finished(self, offset: int) -> bool:
        """Return whether an event is finished already: by the commit found, by a mark, or since."""
        covered = offset <= self._cover.highest and offset not in self._unfinished_in_cover
        if covered or offset < self._cover.offset or offset in self.finished_early:
            return True
        return offset not in self.adopted and self.watermark.is_finished(offset)

    def records(self) -> Iterator[Any]:
        """Yield the records to look at, each until it is delivered, skipped or held; finished ones are passed over.

        Where some are held, adopted ones come before them, and nothing comes past one that is held again.
        """
        if self.held:
            yield from self._fetched_records(only_adopted=True)
            yield from self._held_records()
        if not self.held:
            yield from self._fetched_records()

    def _fetched_records(self, *, only_adopted: bool = False) -> Iterator[Any]:
        while self.fetched and not (only_adopted and self._is_past_adopted()):
            record, self._source = self.fetched[0], self.fetched
            if record.offset < self.watermark.position:
                self.fetched.popleft()
            elif self.is_finished(record.offset):
                self.skip()
            elif only_adopted and record.offset not in self.adopted:
                self.hold()
            else:
                yield record
        if not self.fetched and self.read_to > self.watermark.position:
            self._pass_gone(self.read_to)
            self.watermark.advance(self.read_to)
            self.uncommitted += 1

    def _is_past_adopted(self) -> bool:
        return not self._ahead or self._ahead[-1] < self.watermark.position

    def _held_records(self) -> Iterator[Any]:
        while self.held:
            record, self._source = self.held[0], self.held
            yield record
            if self.held and self.held[0] is record:
                return

    def passed(self) -> list[int]:
        """Return adopted offsets that the position has passed without their records: compacted, or too old."""
        awaited = {pending.offset for pending in self.decoded}
        return sorted(offset for offset in self.adopted - awaited if offset < self.watermark.position)

    def skip(self) -> None:
        """Note that the record is finished, or that no handler wants it."""
        offset = self._next()
        if offset in self.adopted:
            # It may run, or have an outcome: the ledger is asked first.
            self._unwanted.add(offset)
            return
        self.watermark.finish(offset)
        self.finished_early.discard(offset)
        self.uncommitted += 1

    def deliver(self, pending: Pending, *, has_slot: bool = True) -> bool:
        """Note that the record is an event; return whether it is to be claimed, or waits in its lane, or for a slot."""
        self._next()
        free = pending.decoded.lane is None or self.lanes.enter(pending)
        if (free and has_slot) or pending.offset in self.adopted:
            self.decoded.append(pending)
            return True
        pending.parked = not free
        self.parked.add(pending.offset)
        if free:
            self.lanes.freed.append(pending)
        return False

    def take_freed(self, room: int) -> int:
        """Have up to *room* events claimed whose turn in their lanes has come; return how many."""
        # One that was adopted may have come late, and before others of its lane that were freed already.
        freed, self.lanes.freed = sorted(self.lanes.freed, key=lambda one: one.offset), deque()
        taken, held_up = 0, set()
        for pending in freed:
            if taken < room or not (pending.offset in self.parked or pending.decoded.lane in held_up):
                taken += self._take(pending)
            else:
                held_up.add(pending.decoded.lane)
                self.lanes.freed.append(pending)
        while self.lanes.freed and self._is_stuck():
            taken += self._take(self.lanes.freed.popleft())
        return taken

    def _take(self, pending: Pending) -> int:
        """Have a freed event claimed, or sent where it was claimed before; return how many slots that takes."""
        if pending.offset in self.parked:
            self.parked.discard(pending.offset)
            self.decoded.append(pending)
            return 1
        if pending.offset in self.pending:
            self.ready.append(pending)
        return 0

    def _is_stuck(self) -> bool:
        """Return whether all that holds a slot waits for events that have none: adopted under another `ordering`."""
        freed = {pending.offset for pending in self.lanes.freed}
        waits = (pending.parked or offset in freed for offset, pending in self.pending.items())
        return not self.decoded and bool(self.pending) and all(waits)

    def take_ready(self) -> deque[Pending]:
        """Return what is to be handed to Celery, but for what was settled while it waited for that."""
        ready, self.ready = self.ready, deque()
        return deque(pending for pending in ready if self.pending.get(pending.offset) is pending)

    def hold(self) -> None:
        """Note that the record waits for a slot, while those behind it are looked at."""
        if self._source is self.fetched:
            self.held.append(self.fetched[0])
            self._next()

    def _next(self) -> int:
        offset = int(self._source.popleft().offset)
        if self._source is self.fetched:
            self._pass_gone(offset)
            self.watermark.deliver(offset)
        return offset

    def _pass_gone(self, position: int) -> None:
        """Have adopted offsets below *position* whose records are gone count as delivered.

        No commit may cover them before they are settled: whoever adopts them next would drop them.
        """
        while self._ahead and self._ahead[0] < position:
            offset = self._ahead.popleft()
            if offset in self.adopted and offset >= self.watermark.position:
                self.watermark.deliver(offset)

    def finish(self, offset: int) -> None:
        """Note that an event is settled."""
        pending = self.pending.pop(offset, None)
        if pending is None or pending.decoded.lane is not None:
            self.lanes.leave(offset)
        if offset in self.adopted:
            self.adopted.discard(offset)
            # Claimed after its mark is gone, it would run again.
            self.decoded = deque(pending for pending in self.decoded if pending.offset != offset)
        self.uncommitted += 1
        if not self.watermark.finish(offset) and offset >= self.watermark.position:
            self.finished_early.add(offset)

    def claimed(self, pending: Pending, known: Claimed | None) -> None:
        """Note the ledger's answer to a claim."""
        self.adopted.discard(pending.offset)
        if (known is not None and known.state == "finished") or self._is_unwanted(pending.offset, known):
            self.finish(pending.offset)
            return
        self.pending[pending.offset] = pending
        if known is None:
            self.ready.append(pending)
            return
        if known.state == "outcome":
            pending.reported = True
            return
        pending.past, pending.leased = known.past, known.leased
        pending.waiting = not known.leased and known.due_in_ms > 0
        if not pending.leased and not pending.waiting and known.raised is None:
            self.ready.append(pending)

    def _is_unwanted(self, offset: int, known: Claimed | None) -> bool:
        """Return whether no handler wants the event any more, and none runs it or ran it."""
        idle = known is None or (known.state == "claimed" and not known.leased)
        return offset in self._unwanted and idle

    def found(self, pending: Pending, known: Claimed | None) -> bool:
        """Note what the ledger says of an event that was claimed here; return whether it is to be run and does not.

        None: the ledger had forgotten the claim, and has made it anew.
        """
        if known is not None and known.state == "finished":
            self.finish(pending.offset)
            return False
        pending.reported = known is not None and known.state == "outcome"
        if pending.reported:
            return False
        pending.leased = known is not None and known.leased
        pending.past = FIRST if known is None else known.past
        pending.waiting &= known is not None
        # Due later: the next turn says why.
        return not (pending.leased or pending.waiting or (known is not None and known.due_in_ms > 0))

    def raised(self, raised: Raised) -> Pending | None:
        """Note that a run ended without an outcome; return the event, where its record is here."""
        pending = self.pending.get(raised.offset)
        if pending is None or raised.past.d < pending.past.d:
            return None
        pending.past = raised.past
        pending.leased, pending.reported, pending.copies, pending.sent_at = False, False, 0, None
        return pending


#: Calls a step for one partition; drops the partition where it turns out to be another's.
Guarded = Callable[[OwnedPartition, Callable[[OwnedPartition], None]], None]
