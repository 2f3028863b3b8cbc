"""Step 3, dispatch: take records as slots come free, claim their events, hand them to Celery, and see that they arrive.

Sending again is always safe: *begin* lets each dispatch number run once. So what is claimed but neither runs nor
waits its turn is sent again.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from kaufmann_celery import envelope
from kaufmann_celery.celery_out import CeleryOut, Envelope, TaskMessage
from kaufmann_celery.decode import Decoder
from kaufmann_celery.errors import EventError, UnavailableError
from kaufmann_celery.failures import Failures
from kaufmann_celery.grouping import Grouping
from kaufmann_celery.handlers import Handler
from kaufmann_celery.ledger import Raised, Turn
from kaufmann_celery.outcome import Outcome
from kaufmann_celery.partition import OwnedPartition, Pending

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

log = logging.getLogger(__name__)

#: Records looked at per turn, so that skipping a million does not keep the loop from settling.
_RECORDS_PER_TURN = 5000
#: Seconds after which a task that nobody began is looked into; doubled with each copy sent.
_LOST_AFTER_S = 3.0
#: Copies of one dispatch at a time.
_MOST_COPIES = 3
#: Seconds between looks for lost tasks.
_LOOK_EVERY_S = 1.0

Guarded = Callable[[OwnedPartition, Callable[[OwnedPartition], None]], None]


class Dispatcher:
    """Moves events from read to running. Used by the ingester's loop alone."""

    def __init__(
        self, kaufmann: Kaufmann, decoder: Decoder, failures: Failures, *, nudge: Callable[[str], None]
    ) -> None:
        self._config = kaufmann.config
        self._kaufmann = kaufmann
        self._decoder = decoder
        self._failures = failures
        self._nudge = nudge
        self.grouping = Grouping()
        self._celery = CeleryOut(kaufmann.celery, kaufmann.queue_of)
        self._retries: list[tuple[float, int, OwnedPartition, Pending, int]] = []
        self._numbers = itertools.count(1)
        self._begun_number = 0
        self._looked_at = 0.0
        self._first = 0
        self._holds = False

    @property
    def is_busy(self) -> bool:
        """Return whether events wait a moment for the measurement of their handler."""
        return self._holds

    def next_due(self, now: float) -> float:
        """Return the seconds until the next retry is due; infinity without one."""
        return max(0.0, self._retries[0][0] - now) if self._retries else float("inf")

    def raised(self, owned: OwnedPartition, turn: Turn) -> None:
        """Decide what becomes of events whose run ended without an outcome."""
        for offset in turn.outcomes:
            if pending := owned.pending.get(offset):
                self._begun_number = max(self._begun_number, pending.sent_number)
        for raised in turn.raised:
            pending = owned.raised(raised)
            if pending is not None:
                self._again(owned, pending, raised, turn.now_ms)

    def take(self, owned: Sequence[OwnedPartition], guarded: Guarded) -> None:
        """Take, claim and send what fits. Raises `UnavailableError` after having done what could be done."""
        away: list[UnavailableError] = []
        self._decode(owned, away)
        self._ripen(time.monotonic())
        for step in (self._claim, self._conclude, self._look_for_lost):
            for one in owned:
                try:
                    guarded(one, step)
                except UnavailableError as error:
                    away.append(error)
        self._looked_at = max(self._looked_at, self._look_due())
        self._send(owned)
        if away:
            raise away[0]

    def close(self) -> None:
        """Drop the connection to Celery's broker."""
        self._celery.close()

    # Reading

    def _decode(self, partitions: Sequence[OwnedPartition], away: list[UnavailableError]) -> None:
        slots = self._config.max_demand - sum(owned.outstanding for owned in partitions)
        self._first += 1
        for at in range(len(partitions)):
            owned = partitions[(self._first + at) % len(partitions)]
            try:
                slots -= self._decode_some(owned, slots)
            except UnavailableError as error:
                away.append(error)

    def _decode_some(self, owned: OwnedPartition, slots: int) -> int:
        """Decode what *slots* allow and what is adopted; return how many slots that took."""
        taken = 0
        room = min(slots, owned.room())
        for record in itertools.islice(owned.records(), _RECORDS_PER_TURN):
            adopted = record.offset in owned.adopted
            if not adopted and (taken >= room or not owned.is_within(record.offset, self._config.max_window)):
                if not owned.adopted:
                    break
                owned.hold()
                continue
            decoded = self._decoder.decode(record)
            if decoded is None:
                owned.skip()
                continue
            owned.deliver(Pending(record, decoded, failure=decoded.error))
            taken += not adopted
        return taken

    def _claim(self, owned: OwnedPartition) -> None:
        if not owned.decoded:
            return
        known = owned.ledger.claim([pending.offset for pending in owned.decoded])
        while owned.decoded:
            pending = owned.decoded.popleft()
            owned.claimed(pending, known.get(pending.offset))
            if pending.waiting:
                self._wait(owned, pending, max(0.0, known[pending.offset].due_ms / 1000 - time.time()))

    # Failures that no worker reports

    def _again(self, owned: OwnedPartition, pending: Pending, raised: Raised, now_ms: int) -> None:
        ran = raised.d - 1
        if raised.reason == "retry":
            self._wait(owned, pending, (raised.due_ms - now_ms) / 1000)
        elif raised.reason == "time_limit":
            handler = pending.decoded.handler
            error = TimeLimitExceeded(handler.options.time_limit if handler else None)
            countdown = handler.options.retry.countdown(error, ran) if handler else None
            if countdown is None:
                self._fail(owned, pending, error)
            else:
                self._wait(owned, pending, countdown)
        elif raised.reason in ("revoked", "rejected"):
            self._fail(owned, pending, TaskRevokedError("its task was revoked"))
        elif pending.deaths >= self._config.max_attempts:
            self._fail(owned, pending, self._failures.worker_died(pending))
        else:
            log.warning(
                "%s: its run ended without a report (%s); it runs again, alone",
                owned.position_of(pending.offset), raised.reason,
                extra={"action": "again", "event": pending.decoded.name, "offset": pending.offset},
            )  # fmt: skip
            owned.ready.append(pending)

    def _fail(self, owned: OwnedPartition, pending: Pending, error: Exception) -> None:
        pending.failure = pending.failure or error
        self._route(owned, pending)

    def _route(self, owned: OwnedPartition, pending: Pending) -> None:
        """Send a failed event to its `on_error` once, where there is one; else conclude it here."""
        name, handler = pending.decoded.name, pending.decoded.handler
        if handler is None or pending.told or self._kaufmann.on_error_for(name) is None:
            owned.failing.append(pending)
        else:
            pending.told = True
            owned.ready.append(pending)

    def _conclude(self, owned: OwnedPartition) -> None:
        outcomes: dict[int, bytes] = {}
        for pending in [one for one in owned.ready if one.failure is not None and not one.told]:
            owned.ready.remove(pending)
            self._route(owned, pending)
        for pending in owned.failing:
            outcomes[pending.offset] = self._outcome(owned, pending).encode()
        if outcomes:
            owned.ledger.conclude(outcomes)
            owned.failing.clear()
            self._nudge(owned.ledger.base)

    def _outcome(self, owned: OwnedPartition, pending: Pending) -> Outcome:
        error = pending.failure
        assert error is not None
        raw = isinstance(error, EventError) and pending.decoded.error is error
        return (
            self._failures.undecodable(owned, pending) if raw else self._failures.ended(owned, pending, error)
        )

    # Retries

    def _wait(self, owned: OwnedPartition, pending: Pending, seconds: float) -> None:
        pending.waiting = True
        entry = (time.monotonic() + seconds, next(self._numbers), owned, pending, pending.d)
        heapq.heappush(self._retries, entry)

    def _ripen(self, now: float) -> None:
        while self._retries and self._retries[0][0] <= now:
            _, _, owned, pending, d = heapq.heappop(self._retries)
            if pending.waiting and pending.d == d:
                pending.waiting = False
                owned.ready.append(pending)

    # Sending

    def _send(self, partitions: Sequence[OwnedPartition]) -> None:
        now = time.monotonic()
        outstanding = sum(owned.outstanding for owned in partitions)
        self._holds = False
        batch: list[tuple[OwnedPartition, Handler, list[Pending]]] = []
        for owned in partitions:
            left: deque[Pending] = deque()
            for handler, group in self._by_handler(owned.ready):
                batch += [
                    (owned, handler, part) for part in self._parts(handler, group, outstanding, now, left)
                ]
            owned.unsent = left
        try:
            if batch:
                self._celery.send([self._message(*one) for one in batch])
        except UnavailableError:
            for owned, _, part in batch:
                owned.unsent.extend(part)
            raise
        finally:
            for owned in partitions:
                owned.ready, owned.unsent = owned.unsent, deque()
        for _, _, part in batch:
            number = next(self._numbers)
            for pending in part:
                pending.sent_at, pending.sent_number = now, number
                pending.copies += 1

    def _by_handler(self, ready: Iterable[Pending]) -> Iterator[tuple[Handler, list[Pending]]]:
        groups: dict[str, tuple[Handler, list[Pending]]] = {}
        for pending in ready:
            handler = pending.decoded.handler
            assert handler is not None
            groups.setdefault(handler.pattern, (handler, []))[1].append(pending)
        return iter(groups.values())

    def _parts(
        self, handler: Handler, group: list[Pending], outstanding: int, now: float, left: deque[Pending]
    ) -> Iterator[list[Pending]]:
        """Split a handler's events into tasks. One that ran before goes alone, so that its death is its own."""
        fresh = [
            pending for pending in group if pending.d == 1 and not pending.copies and not pending.failure
        ]
        for pending in group:
            if pending.d > 1 or pending.copies or pending.failure:
                yield [pending]
        at = 0
        while at < len(fresh):
            size = self.grouping.size(handler, outstanding, now)
            if size == 0:
                left.extend(fresh[at:])
                self._holds = True
                return
            yield fresh[at : at + size]
            at += size

    def _message(self, owned: OwnedPartition, handler: Handler, part: Sequence[Pending]) -> TaskMessage:
        events = [Envelope(one.offset, one.d, self._text(one), self._label(owned, one)) for one in part]
        log.debug(
            "dispatch %d of %s from %s", len(events), handler.pattern, owned.partition,
            extra={"action": "dispatch", "event": handler.pattern},
        )  # fmt: skip
        ledger = owned.ledger
        return TaskMessage(
            handler, ledger.base, ledger.incarnation, owned.partition.topic, owned.partition.partition, events
        )

    def _text(self, pending: Pending) -> str:
        if pending.failure is None or pending.decoded.error is pending.failure:
            return pending.decoded.text
        return envelope.with_error(pending.decoded.text, type(pending.failure).__name__, str(pending.failure))

    def _label(self, owned: OwnedPartition, pending: Pending) -> str:
        return f"{pending.decoded.name} {pending.decoded.id} at {owned.position_of(pending.offset)}"

    # Lost tasks

    def _look_due(self) -> float:
        now = time.monotonic()
        return now if now - self._looked_at >= _LOOK_EVERY_S else 0.0

    def _look_for_lost(self, owned: OwnedPartition) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return
        suspects = [one for one in owned.pending.values() if _is_suspect(one, now)]
        if not suspects:
            return
        claims, leased, outcomes, marks = owned.ledger.audit()
        for pending in suspects:
            pending.leased = pending.offset in leased
            if pending.leased:
                self._begun_number = max(self._begun_number, pending.sent_number)
                pending.sent_at = now
            elif pending.offset not in claims | outcomes | marks:
                # Redis lost its last moments: the claim is made again.
                del owned.pending[pending.offset]
                owned.decoded.append(pending)
            elif pending.offset in claims and self._is_lost(pending):
                self._send_again(owned, pending, now)

    def _is_lost(self, pending: Pending) -> bool:
        """Return whether a task that nobody began does not wait its turn either: overtaken, or its queue empty."""
        handler = pending.decoded.handler
        if handler is None or pending.sent_number < self._begun_number:
            return True
        return self._celery.waiting(self._kaufmann.queue_of(handler)) == 0

    def _send_again(self, owned: OwnedPartition, pending: Pending, now: float) -> None:
        if pending.copies >= _MOST_COPIES:
            # Enough are on their way. Much later these are lost too.
            if now - (pending.sent_at or now) < _LOST_AFTER_S * 2**_MOST_COPIES:
                return
            pending.copies = 1
        pending.sent_at = None
        owned.ready.append(pending)


def _is_suspect(pending: Pending, now: float) -> bool:
    if pending.sent_at is None or pending.waiting or pending.reported:
        return False
    return now - pending.sent_at > _LOST_AFTER_S * 2 ** max(0, pending.copies - 1)
