"""What a worker's main process says for its children: one that lives is no dead one, though it renews no lease itself.

A child cannot renew while a handler holds the GIL, in a call of C that takes long. Its main process, whose threads run
on, knows the run by its id, and asks the system whether the child lives.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import RunLedger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChildsRun:
    """A run in a child process."""

    #: Asked for only when it is vouched for: most runs have ended by then.
    ledger: Callable[[], RunLedger]
    pid: int
    #: Whether the main process has heard of no end of it.
    is_current: Callable[[], bool]


class Vouching:
    """All runs of this process' children. Used by its main thread; the vouching is done by one of its own."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        #: By the child's process id: it runs one task at a time.
        self._runs: dict[int, ChildsRun] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, run: ChildsRun) -> None:
        """Vouch for *run*, and for none before it in its child, for as long as it is current and the child lives."""
        with self._lock:
            self._runs[run.pid] = run
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="kaufmann-vouching", daemon=True)
                self._thread.start()

    def _loop(self) -> None:
        pause, looked_at = threading.Event(), time.monotonic()
        while not pause.wait(self._lease_s / 3):
            stood_still = time.monotonic() - looked_at > self._lease_s
            looked_at = time.monotonic()
            # Who stood still has heard of nothing meanwhile: the main thread hears first.
            if not stood_still:
                self._vouch()

    def _vouch(self) -> None:
        with self._lock:
            self._runs = {pid: run for pid, run in self._runs.items() if run.is_current()}
            runs = list(self._runs.values())
        try:
            for run in runs:
                if is_running(run.pid):
                    run.ledger().vouch()
        except UnavailableError:
            # Nobody's lease ends for the time that Redis is away.
            log.debug("Redis is away; nothing is vouched for", extra={"action": "vouch_failed"})


def is_running(pid: int) -> bool:
    """Tell whether this process' child *pid* lives and was not stopped. Where the system cannot say: False."""
    if not hasattr(os, "waitid"):
        return False
    try:
        # WNOWAIT: its end is still to be heard by whoever waits for it.
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False
