"""The pulse of an ingester: where its loops stop turning, its process dumps its stacks and ends.

Its supervisor then starts another. A process that hangs would keep its partitions for ever.
"""

from __future__ import annotations

import faulthandler
import os
import threading
import time

#: Seconds without a step after which the process ends. More than any wait for Kafka, Redis or the registry takes,
#: unless settings make it longer.
LIMIT_S = 120.0
#: Seconds between looks, and how late a look may be before the process is ended without one.
_LOOK_EVERY_S, _LATE_S = 1.0, 5.0
_STDERR = 2


class Pulse:
    """Kept by two threads, the loop and the consumer's: each notes the steps that it makes, and a third looks.

    That one dumps the stacks while no other can run, since a stack that changes under a dump ends in SIGSEGV. Where a C
    call keeps the GIL, so that it cannot look, faulthandler's own thread does it, which needs no interpreter.
    *longer_s*: by how much settings make a wait longer than it is without them.
    """

    def __init__(self, longer_s: float = 0.0) -> None:
        self._limit_s = LIMIT_S + longer_s
        self._stepped_at = self._beat_at = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def step(self) -> None:
        """Note that the loop goes on. Called in its thread, more often than it could hang."""
        self._stepped_at = time.monotonic()

    def beat(self) -> None:
        """Note that the consumer goes on. Called in its thread, as often; the watch begins with the first."""
        self._beat_at = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="kaufmann-pulse", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the watch; the process may go on without an ingester."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            left_s = min(self._stepped_at, self._beat_at) + self._limit_s - time.monotonic()
            if left_s <= 0:
                os.write(_STDERR, f"the ingester stood still for {self._limit_s:.0f} s; it ends\n".encode())
                faulthandler.dump_traceback(_STDERR)
                os._exit(1)
            faulthandler.dump_traceback_later(left_s + _LATE_S, exit=True, file=_STDERR)
            self._over.wait(min(left_s, _LOOK_EVERY_S))
        faulthandler.cancel_dump_traceback_later()
