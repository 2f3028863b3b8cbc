"""Leases kept while handlers run: one thread in each worker process renews all of them every third of `lease`."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import RunLedger

log = logging.getLogger(__name__)

#: Renewals that find nothing held before that is said: the first may come while the run's report is on its way.
_MISSES = 2


class KeptLease:
    """The events that one run still holds."""

    def __init__(self, ledger: RunLedger, events: Sequence[tuple[int, int]], kept_at: float) -> None:
        self.ledger = ledger
        self._kept_at = kept_at
        self.size = len(events)
        self._events = dict(events)
        self._missed = 0
        self._lock = threading.Lock()

    def drop(self, offsets: set[int]) -> None:
        """Stop renewing events that are reported."""
        with self._lock:
            for offset in offsets:
                self._events.pop(offset, None)

    def holds(self, offset: int) -> bool:
        """Return whether the run may start with this event: asks the ledger where its lease may have run out.

        Raises `UnavailableError` where Redis is away.
        """
        return time.monotonic() - self._kept_at < self.ledger.lease or offset in self.renew()

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
        self._every_s = lease_s / 3
        self._kept: set[KeptLease] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def keep(self, ledger: RunLedger, events: Sequence[tuple[int, int]], since: float) -> Iterator[KeptLease]:
        """Renew the lease of *events*, begun at *since* (monotonic seconds), until the block ends."""
        kept = KeptLease(ledger, events, since)
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
        pause = threading.Event()
        while not pause.wait(self._every_s):
            with self._lock:
                kept = list(self._kept)
            for one in kept:
                try:
                    one.renew()
                except UnavailableError:
                    log.warning("Redis is away; leases are not renewed", extra={"action": "renew_failed"})
