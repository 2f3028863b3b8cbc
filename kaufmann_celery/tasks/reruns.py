"""What becomes of an event whose run ended without an outcome: it runs again, now or later, or it has failed."""

from __future__ import annotations

import heapq
import itertools
import logging
import time
from collections.abc import Callable

from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from kaufmann_celery.errors import PublishError
from kaufmann_celery.ledger import Raised
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.outputs.outcome import Outcome
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending

log = logging.getLogger(__name__)


class Reruns:
    """Decides; holds the events that wait for their retry. Used by the ingester's loop alone."""

    def __init__(self, failures: Failures, *, max_attempts: int, has_on_error: Callable[[str], bool]) -> None:
        self._failures = failures
        self._max_attempts = max_attempts
        self._has_on_error = has_on_error
        self._waiting: list[tuple[float, int, OwnedPartition, Pending, int]] = []
        self._numbers = itertools.count()
        #: Some whose time has come wait for a slot.
        self._is_full = False

    def next_due(self, now: float) -> float:
        """Return the seconds until the next retry; infinity without one, or where slots have to come free first."""
        return max(0.0, self._waiting[0][0] - now) if self._waiting and not self._is_full else float("inf")

    def ripen(self, now: float, slots: int) -> None:
        """Make the events ready whose time has come: as many as there are *slots*, or that kept theirs."""
        self._is_full = False
        while self._waiting and self._waiting[0][0] <= now:
            _, _, owned, pending, d = self._waiting[0]
            if pending.waiting and pending.past.d == d:
                if slots <= 0 and not owned.waiting_holds:
                    self._is_full = True
                    return
                slots -= 1
                pending.waiting = False
                owned.ready.append(pending)
            heapq.heappop(self._waiting)

    def wait(self, owned: OwnedPartition, pending: Pending, seconds: float) -> None:
        """Run *pending* again in so many seconds."""
        pending.waiting = True
        entry = (time.monotonic() + seconds, next(self._numbers), owned, pending, pending.past.d)
        heapq.heappush(self._waiting, entry)

    def ended(self, owned: OwnedPartition, pending: Pending, raised: Raised, wait_s: float) -> None:
        """Decide what becomes of *pending*, whose dispatch ended as *raised* says, and is due in *wait_s*."""
        if raised.reason == "retry":
            self.wait(owned, pending, wait_s)
        elif raised.reason == "held":
            owned.ready.append(pending)
        elif raised.reason == "time_limit":
            self._over_time(owned, pending)
        elif raised.reason == "refused":
            self._fail(owned, pending, PublishError("Kafka refuses what it emitted, for good"))
        elif raised.reason in ("revoked", "rejected"):
            self._fail(owned, pending, TaskRevokedError("its task was revoked"))
        elif pending.past.deaths >= self._max_attempts:
            self._fail(owned, pending, self._failures.worker_died(pending))
        else:
            log.warning(
                "%s at %s: its run ended without a report (%s); it runs again, alone",
                pending.decoded.name,
                owned.position_of(pending.offset),
                raised.reason,
                extra={"action": "again", "event": pending.decoded.name, "offset": pending.offset},
            )
            owned.ready.append(pending)

    def adopted(self, owned: OwnedPartition, pending: Pending) -> None:
        """Give up an adopted event that already took its worker down too often; the others are ready."""
        if pending.past.deaths >= self._max_attempts and pending.failure is None:
            owned.ready.remove(pending)
            self._fail(owned, pending, self._failures.worker_died(pending))

    def route(self, owned: OwnedPartition, pending: Pending) -> None:
        """Send a failed event to its `on_error` once, where there is one; else have it concluded here."""
        handler = pending.decoded.handler
        if handler is None or pending.told or not self._has_on_error(pending.decoded.name):
            owned.failing.append(pending)
        else:
            pending.told = True
            owned.ready.append(pending)

    def conclude(self, owned: OwnedPartition) -> bool:
        """Put the outcomes of failed events into the ledger; return whether there were any.

        Raises `UnavailableError` where Redis or the registry is away; they then stay.
        """
        outcomes = {pending.offset: self._outcome(owned, pending).encode() for pending in owned.failing}
        if outcomes:
            refused = owned.ledger.conclude(outcomes)
            for pending in owned.failing:
                # So the watchdog compares it with the ledger: an outcome may be lost; what is refused runs, or is done.
                pending.reported = pending.offset not in refused
                pending.leased = not pending.reported
            owned.failing.clear()
        return bool(outcomes)

    def _over_time(self, owned: OwnedPartition, pending: Pending) -> None:
        handler = pending.decoded.handler
        error = TimeLimitExceeded(handler.options.time_limit if handler else None)
        countdown = handler.options.retry.countdown(error, pending.past.failures) if handler else None
        if countdown is None:
            self._fail(owned, pending, error)
        else:
            self.wait(owned, pending, countdown)

    def _fail(self, owned: OwnedPartition, pending: Pending, error: Exception) -> None:
        pending.failure = pending.failure or error
        self.route(owned, pending)

    def _outcome(self, owned: OwnedPartition, pending: Pending) -> Outcome:
        error = pending.failure
        assert error is not None
        if error is pending.decoded.error:
            return self._failures.undecodable(owned, pending)
        return self._failures.ended(owned, pending, error)
