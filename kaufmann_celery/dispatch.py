"""Step 3, dispatch: take records as slots come free, claim their events, and hand them to Celery.

Sending again is always safe, for *begin* lets each dispatch number run once: what may have been sent is sent again.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from kaufmann_celery.errors import DecodeError, UnavailableError
from kaufmann_celery.ledger import Claimed, Turn, claims
from kaufmann_celery.partitions.ahead import DecodesAhead
from kaufmann_celery.partitions.owned import Guarded, OwnedPartition
from kaufmann_celery.partitions.pending import Decodes, GoneRecord, Pending
from kaufmann_celery.partitions.turns import Turns
from kaufmann_celery.tasks.celery_out import CeleryOut
from kaufmann_celery.tasks.envelope import Decoded
from kaufmann_celery.tasks.grouping import Grouping
from kaufmann_celery.tasks.parts import Part, parts_of
from kaufmann_celery.tasks.reruns import Reruns
from kaufmann_celery.tasks.watchdog import Watchdog

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.outputs.failures import Failures

#: Records looked at per turn, so that skipping a million does not keep the loop from settling.
_RECORDS_PER_TURN = 5000

#: Seconds for which reports alone begin no turn where workers have plenty to do: a turn for one costs as one for many.
_REST_S = 0.03

#: No tasks are on their way to the broker.
_NOTHING: tuple[Callable[[], None], Sequence[Part]] = (lambda: None, ())


class Dispatcher:
    """Moves events from read to running. Used by the ingester's loop alone."""

    def __init__(
        self, kaufmann: Kaufmann, decoder: Decodes, failures: Failures, *, nudge: Callable[[str], None], group: str
    ) -> None:
        config = kaufmann.config
        self._max_demand = config.max_demand
        self._max_window = config.max_window
        #: Events of one partition that may wait, unclaimed, for others in their lanes.
        self._most_parked = 2 * config.max_demand
        self._decoder = DecodesAhead(decoder, config.max_demand)
        self._nudge = nudge
        self._celery = CeleryOut(kaufmann.celery, group, kaufmann.queue_of)
        self._watchdog = Watchdog(self._celery.waiting, kaufmann.queue_of)
        self._numbers = itertools.count(1)
        has_lanes = config.ordering != "unordered"
        self._turns = Turns(has_lanes=has_lanes)
        # A report may let the next event of a lane begin; and of several queues one may be empty.
        self._may_rest = not has_lanes and not any(one.options.queue for one in kaufmann.handlers)
        #: Until when reports alone need not begin a turn (monotonic seconds).
        self.rests_until = 0.0
        #: What waits for the broker to have the tasks sent last, and these.
        self._on_their_way = _NOTHING
        #: Events wait a moment for the first measurement of their handler.
        self.holds = False
        self.grouping = Grouping()
        self.reruns = Reruns(
            failures,
            max_attempts=config.max_attempts,
            has_on_error=lambda name: kaufmann.on_error_for(name) is not None,
        )

    def heard(self, owned: OwnedPartition, turn: Turn) -> None:
        """Note what the ledger says of events that were dispatched."""
        begun: dict[int, Pending] = {}
        for offset in (*turn.outcomes, *turn.settled):
            if pending := owned.pending.get(offset):
                pending.reported = True
                begun[pending.sent_number] = pending
        for pending in begun.values():
            self._watchdog.begun(pending)
        for raised in turn.raised:
            if pending := owned.raised(raised):
                self.reruns.ended(owned, pending, raised, (raised.due_ms - turn.now_ms) / 1000)

    def take(self, partitions: Sequence[OwnedPartition], guarded: Guarded, outstanding: Callable[[], int]) -> None:
        """Take, claim and send what fits. Raises `UnavailableError` after having done what could be done.

        *outstanding*: how many events hold a slot, of these partitions and of others that are not here for a moment.
        """
        away: list[UnavailableError] = []
        now = time.monotonic()
        try:
            self._confirm()
        except UnavailableError as error:
            away.append(error)
        self.reruns.ripen(now, self._max_demand - outstanding())
        self._decode(partitions, now, outstanding(), away)
        self._claim(partitions, guarded, away)
        steps = [self._conclude]
        if self._watchdog.is_due(now):
            steps.append(self._watchdog.look)
        for step in steps:
            for owned in partitions:
                try:
                    guarded(owned, step)
                except UnavailableError as error:
                    away.append(error)
        holding = outstanding()
        self._send(partitions, holding)
        self.rests_until = self._rest(time.monotonic(), holding)
        if away:
            raise away[0]

    def close(self) -> None:
        """Drop the connection to Celery's broker."""
        self._celery.close()

    def _decode(
        self, partitions: Sequence[OwnedPartition], now: float, outstanding: int, away: list[UnavailableError]
    ) -> None:
        slots = self._max_demand - outstanding
        enough = self.grouping.enough_tasks if self.grouping.is_quick else None
        ordered = self._turns.begin(partitions, now, enough)
        for owned in ordered:
            if outstanding and slots < self.grouping.quantum:
                slots = 0
            room = self._turns.room(owned, slots)
            try:
                # What waited for its lane comes before what is new: others wait for it.
                left = self._decode_some(owned, room - owned.take_freed(room))
            except UnavailableError as error:
                # The next turn begins with another: no turn waits for the registry once for each partition.
                self._turns.had(owned)
                away.append(error)
                return
            if left < room:
                self._turns.had(owned)
                slots -= room - left

    def _decode_some(self, owned: OwnedPartition, room: int) -> int:
        """Decode what fits into *room* slots, and whatever is adopted; return the slots left."""
        fits = owned.watermark.room(self._max_window)
        for record in itertools.islice(owned.records(), _RECORDS_PER_TURN):
            adopted = record.offset in owned.adopted
            is_packed = fits <= 0 or len(owned.parked) >= self._most_parked
            is_packed = is_packed or not owned.watermark.is_within(record.offset, self._max_window)
            has_slot = adopted or (room > 0 and not is_packed)
            if not has_slot and not owned.adopted:
                break
            if not has_slot and (is_packed or not owned.waiting_holds):
                owned.hold()
                continue
            # Behind one without a slot may come an adopted one of its lane, which is read all the same.
            decoded = self._decoder.decode(owned, record)
            if decoded is None:
                owned.skip()
            elif owned.deliver(Pending(record, decoded, failure=decoded.error), has_slot=has_slot):
                room -= not adopted
                fits -= not adopted
            else:
                fits -= 1
        return room

    def decode_ahead(self, partitions: Sequence[OwnedPartition]) -> None:
        """Decode some of the records that come next, while Redis answers."""
        self._decoder.go_on(self._turns.order(partitions))

    def _claim(self, partitions: Sequence[OwnedPartition], guarded: Guarded, away: list[UnavailableError]) -> None:
        for owned in partitions:
            owned.decoded.extend(self._gone(owned, offset) for offset in owned.passed())
        claiming = [owned for owned in partitions if owned.decoded]
        try:
            answers = claims([(owned.ledger, [one.offset for one in owned.decoded]) for owned in claiming])
            self.decode_ahead(partitions)
            for owned, answer in zip(claiming, answers(), strict=True):
                guarded(owned, partial(self._claimed, answer=answer))
        except UnavailableError as error:
            away.append(error)

    def _claimed(self, owned: OwnedPartition, answer: Callable[[], Mapping[int, Claimed]]) -> None:
        known = answer()
        while owned.decoded:
            pending = owned.decoded.popleft()
            found = known.get(pending.offset)
            owned.claimed(pending, found)
            if found is None:
                continue
            if found.state == "outcome":
                self._nudge(owned.ledger.base)
            if found.raised is not None:
                self.reruns.ended(owned, pending, found.raised, found.due_in_ms / 1000)
            elif pending.waiting:
                self.reruns.wait(owned, pending, found.due_in_ms / 1000)
            elif found.state == "claimed" and not found.leased:
                self.reruns.adopted(owned, pending)

    def _gone(self, owned: OwnedPartition, offset: int) -> Pending:
        """Return a stand-in for an adopted event whose record cannot be read any more: it fails, unless it runs."""
        error = DecodeError("the record is gone (compacted, or past its retention) before its event was finished")
        topic, partition = owned.partition
        record = GoneRecord(topic, partition, offset)
        return Pending(record, Decoded("unknown", None, "", error=error), failure=error)

    def _conclude(self, owned: OwnedPartition) -> None:
        for pending in owned.take_ready():
            if pending.failure is None or pending.told:
                owned.ready.append(pending)
            elif owned.lanes.admits(pending):
                self.reruns.route(owned, pending)
        if self.reruns.conclude(owned):
            self._nudge(owned.ledger.base)

    def _send(self, partitions: Sequence[OwnedPartition], outstanding: int) -> None:
        now = time.monotonic()
        size = partial(self.grouping.size, outstanding=outstanding, now=now)
        parts = [part for owned in partitions for part in parts_of(owned, size)]
        self.holds = any(owned.ready for owned in partitions)
        if not parts:
            return
        try:
            sent = self._celery.send([part.message() for part in parts])
        except UnavailableError:
            for part in parts:
                part.owned.ready.extend(part.events)
            raise
        self._on_their_way = sent, parts
        for part in parts:
            part.number = next(self._numbers)
            self._turns.sent(part.owned, now)
            for pending in part.events:
                pending.sent(now, part.number)

    def _confirm(self) -> None:
        """Hear whether the broker has what was sent last; have it sent again where it may not."""
        sent, parts = self._on_their_way
        self._on_their_way = _NOTHING
        try:
            sent()
        except UnavailableError:
            for part in parts:
                part.owned.ready.extend(one for one in part.events if one.unsent(part.number))
            raise

    def _rest(self, now: float, outstanding: int) -> float:
        if not self._may_rest or self.holds or not self.grouping.is_plenty(outstanding):
            return 0.0
        return now + min(_REST_S, self.reruns.next_due(now))
