"""The pulse of an ingester: where its loops stop turning, its process dumps its stacks and ends.

Its supervisor then starts another. A process that hangs would keep its partitions for ever.
"""

from __future__ import annotations

import faulthandler
import threading
import time

#: Seconds without a step after which the process ends. More than any wait for Kafka, Redis or the registry takes,
#: unless settings make it longer.
LIMIT_S = 120.0
#: Seconds between looks.
_BEAT_EVERY_S = 1.0
_STDERR = 2


class Pulse:
    """Kept by two threads: the loop notes each step that it makes, the consumer's thread looks.

    faulthandler's own thread ends the process. It needs no interpreter, so it does also where a C call in whatever
    thread keeps the GIL. *longer_s*: by how much settings make a wait longer than it is without them.
    """

    def __init__(self, longer_s: float = 0.0) -> None:
        self._limit_s = LIMIT_S + longer_s
        self._lock = threading.Lock()
        self._stepped_at = time.monotonic()
        self._beat_at = float("-inf")
        self._is_over = False

    def step(self) -> None:
        """Note that the loop goes on. Called in its thread, more often than it could hang."""
        self._stepped_at = time.monotonic()

    def beat(self) -> None:
        """Let the process live for as long as the loop's last step allows. Called in the consumer's thread."""
        now = time.monotonic()
        with self._lock:
            if not self._is_over and now - self._beat_at >= _BEAT_EVERY_S:
                self._beat_at = now
                left = max(0.1, self._stepped_at + self._limit_s - now)
                faulthandler.dump_traceback_later(left, exit=True, file=_STDERR)

    def stop(self) -> None:
        """End the watch; the process may go on without an ingester."""
        with self._lock:
            self._is_over = True
            faulthandler.cancel_dump_traceback_later()
