"""Leases kept while handlers run: one thread in each worker process renews all of them every third of `lease`.

While a handler takes long, it also gives back what waits behind its event, for another worker to have, and has what ran
before reported.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import Report, RunLedger
from kaufmann_celery.ledger.wake import wake_text

log = logging.getLogger(__name__)

#: Renewals that find nothing held before that is said: the first may come while the run's report is on its way.
_MISSES = 2
#: Seconds between looks, and those for which a handler may run before what waits behind it is given back.
_LOOK_EVERY_S, _LONG_S = 0.5, 1.0


class KeptLease:
    """The events that one run still holds. *loose*: those that need not run after others of their task."""

    def __init__(
        self, ledger: RunLedger, events: Sequence[tuple[int, int]], kept_at: float, loose: Collection[int] = ()
    ) -> None:
        self.ledger = ledger
        self._kept_at = kept_at
        self.size = len(events)
        self._events = dict(events)
        self._missed = 0
        #: Of the loose ones, those that no handler was called for; and what was given back, of which the ledger is yet
        #: to hear.
        self._waiting = set(loose)
        self._unheard: list[Report] = []
        self._started_at = kept_at
        #: Called, by another thread than the run's, while a handler takes long.
        self.while_long: Callable[[], None] = lambda: None
        self._lock = threading.Lock()

    def drop(self, offsets: set[int]) -> None:
        """Stop renewing events that are reported."""
        with self._lock:
            for offset in offsets:
                self._events.pop(offset, None)

    def may_start(self, offset: int) -> bool:
        """Return whether the run may start with this event: asks the ledger where its lease may have run out.

        Raises `UnavailableError` where Redis is away.
        """
        with self._lock:
            if offset not in self._events:
                return False  # it was given back
            self._waiting.discard(offset)
            self._started_at = time.monotonic()
        return self._started_at - self._kept_at < self.ledger.lease or offset in self.renew()

    def ended(self) -> None:
        """Note that the handler has returned: none runs until the next start."""
        self._started_at = float("inf")

    def give_back(self) -> None:
        """Give back what waits behind an event that takes long. Raises `UnavailableError` where Redis is away."""
        with self._lock:
            is_long = time.monotonic() - self._started_at > _LONG_S
            if self._waiting and is_long:
                self._unheard = [Report(offset, self._events.pop(offset), held=True) for offset in self._waiting]
                self._waiting = set()
            reports = self._unheard
        if reports:
            self.ledger.finish(reports, last=False, text=wake_text(self.ledger.base))
            self._unheard = []
        if is_long:
            self.while_long()

    def renew(self) -> set[int]:
        """Renew once; return the offsets still held. Raises `UnavailableError` where Redis is away."""
        with self._lock:
            events = list(self._events.items())
        if not events:
            return set()
        now = time.monotonic()
        held = self.ledger.renew(events, self.size)
        if held:
            self._kept_at = now
        else:
            self._missed += 1
            if self._missed == _MISSES:
                log.warning("a run lost its lease; its outcome will be dropped", extra={"action": "lease_lost"})
        return held


class Leases:
    """All runs of this process. Thread-safe."""

    def __init__(self, lease_s: float) -> None:
        self._renew_every_s = lease_s / 3
        self._kept: set[KeptLease] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(
        self, ledger: RunLedger, events: Sequence[tuple[int, int]], since: float, loose: Collection[int] = ()
    ) -> Iterator[KeptLease]:
        """Renew the lease of *events*, begun at *since* (monotonic seconds), until the block ends."""
        kept = KeptLease(ledger, events, since, loose)
        with self._lock:
            self._kept.add(kept)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="kaufmann-leases", daemon=True)
                self._thread.start()
        try:
            yield kept
        finally:
            with self._lock:
                self._kept.discard(kept)

    def _run(self) -> None:
        pause, renewed_at = threading.Event(), time.monotonic()
        while not pause.wait(min(_LOOK_EVERY_S, self._renew_every_s)):
            with self._lock:
                kept = list(self._kept)
            renews = time.monotonic() - renewed_at >= self._renew_every_s
            renewed_at = time.monotonic() if renews else renewed_at
            for one in kept:
                try:
                    one.give_back()
                    if renews:
                        one.renew()
                except UnavailableError:
                    log.warning("Redis is away; leases are not renewed", extra={"action": "renew_failed"})
