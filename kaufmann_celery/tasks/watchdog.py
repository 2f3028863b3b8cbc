"""The watchdog: finds what is claimed but neither runs nor waits its turn, and has it sent again.

Celery's broker may lose a message in a dozen ways, and may not be Redis. So nothing here asks how it was lost: a
task is lost once nobody began it though a later one began, or though its queue is empty.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from kaufmann_celery.handlers import Handler
from kaufmann_celery.outage import Outage
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending

log = logging.getLogger(__name__)

#: Seconds after which a task that nobody began is looked into; doubled with each copy sent.
_LOST_AFTER_S = 3.0
#: Copies of one dispatch at a time.
_MOST_COPIES = 3
#: Seconds between looks, and between comparisons of all that is pending with the ledger.
_LOOK_EVERY_S = 1.0
_AUDIT_EVERY_S = 5.0
#: Seconds without a task begun, while some wait in the queue, after which it is said that nobody takes them.
_UNTAKEN_S = 15.0


class Watchdog:
    """Used by the ingester's loop alone."""

    def __init__(self, waiting_in: Callable[[str], int], queue_of: Callable[[Handler], str]) -> None:
        self._waiting_in = waiting_in
        self._queue_of = queue_of
        self._looked_at = 0.0
        self._audited_at: WeakKeyDictionary[OwnedPartition, float] = WeakKeyDictionary()
        #: By queue: the highest number among the tasks that are known to have begun, and whether it is empty now.
        self._begun: dict[str, int] = {}
        self._empty: dict[str, bool] = {}
        self._begun_at: dict[str, float] = {}
        self._untaken = Outage()

    def begun(self, pending: Pending) -> None:
        """Note that the task of *pending* has begun."""
        if pending.decoded.handler is not None:
            queue = self._queue_of(pending.decoded.handler)
            self._begun[queue] = max(self._begun.get(queue, 0), pending.sent_number)
            self._begun_at[queue] = time.monotonic()

    def is_due(self, now: float) -> bool:
        """Return whether it is time to look at every partition, and take it that this is done."""
        if now - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = now
        self._empty.clear()
        return True

    def look(self, owned: OwnedPartition) -> None:
        """Send again what is late and lost, and every few seconds compare all with the ledger.

        Raises `UnavailableError` and `Fenced`.
        """
        now = time.monotonic()
        whole = now - self._audited_at.get(owned, 0.0) >= _AUDIT_EVERY_S
        suspects = [one for one in owned.pending.values() if _is_late(one, now) or (whole and _is_quiet(one, now))]
        if whole:
            self._audited_at[owned] = now
            self._drop_finished(owned)
        if not suspects:
            return
        # Claimed anew where Redis lost its last moments, else the ledger says how it stands.
        known = owned.ledger.claim([pending.offset for pending in suspects])
        for pending in suspects:
            found = known.get(pending.offset)
            is_to_run = owned.found(pending, found)
            if pending.leased:
                self.begun(pending)
                pending.sent_at = now
            elif is_to_run and (found is None or self._is_lost(pending)):
                _send_again(owned, pending, now)
            elif is_to_run and pending.decoded.handler is not None:
                self._say_untaken(self._queue_of(pending.decoded.handler), pending, now)

    def _say_untaken(self, queue: str, pending: Pending, now: float) -> None:
        waited_s = now - max(pending.sent_at or now, self._begun_at.get(queue, 0.0))
        if waited_s > _UNTAKEN_S and self._untaken.is_news(queue, now):
            log.warning(
                "no worker has taken a task from the queue %s for %.0f s; does one consume it? "
                "celery -A … worker does, unless its -Q names others",
                queue, waited_s, extra={"action": "untaken"},
            )  # fmt: skip

    def _drop_finished(self, owned: OwnedPartition) -> None:
        """Drop claims that a ledger which lost its tail brought back after they were finished."""
        claims, _, _, _ = owned.ledger.audit()
        finished = [offset for offset in claims if offset not in owned.pending and owned.is_finished(offset)]
        if finished:
            owned.ledger.settle(finished)

    def _is_lost(self, pending: Pending) -> bool:
        if pending.decoded.handler is None:
            return True
        queue = self._queue_of(pending.decoded.handler)
        if pending.sent_number < self._begun.get(queue, 0):
            return True
        if queue not in self._empty:
            self._empty[queue] = self._waiting_in(queue) == 0
        return self._empty[queue]


def _send_again(owned: OwnedPartition, pending: Pending, now: float) -> None:
    if pending.copies >= _MOST_COPIES:
        # Enough are on their way. Much later these are lost too.
        if now - (pending.sent_at or now) < _LOST_AFTER_S * 2.0**_MOST_COPIES:
            return
        pending.copies = 1
    pending.sent_at = None
    owned.ready.append(pending)


def _is_late(pending: Pending, now: float) -> bool:
    if pending.sent_at is None or pending.waiting or pending.reported or pending.leased:
        return False
    return now - pending.sent_at > _LOST_AFTER_S * 2.0 ** max(0, pending.copies - 1)


def _is_quiet(pending: Pending, now: float) -> bool:
    """Return whether nothing was done about it lately that the ledger may not have heard of yet."""
    return pending.leased or pending.reported or pending.waiting or _is_late(pending, now)
