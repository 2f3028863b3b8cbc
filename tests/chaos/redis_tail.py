"""How long Redis' append-only file was at each moment, so that a kill can be made to cost its last second."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.stack import ChaosStack

_LOOK_EVERY_S = 0.05
#: What `appendfsync everysec` may cost when the machine goes down.
_LOST_S = 1.0


class RedisTail:
    """Looks on in a thread."""

    def __init__(self, stack: ChaosStack) -> None:
        self._stack = stack
        self._sizes: deque[tuple[float, Path, int]] = deque(maxlen=100)
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def start(self) -> None:
        """Begin to look."""
        threading.Thread(target=self._run, name="redis-tail", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Look away for the length of the block; what was seen before is then of another Redis."""
        with self._lock:
            yield
            self._sizes.clear()

    def cut(self) -> tuple[float, str]:
        """Cut the file to what it was a second ago; return since when all is lost, and how much that is. At rest."""
        path = self._stack.redis_log()
        assert path is not None
        now = time.time()
        known = [(at, size) for at, file, size in self._sizes if file == path and at <= now - _LOST_S]
        at, size = known[-1] if known else (self._sizes[0][0] if self._sizes else now, 0)
        lost = path.stat().st_size - size
        with path.open("r+b") as file:
            file.truncate(size)
        return at, f"{lost} bytes of {now - at:.2f} s"

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            with self._lock:
                path = self._stack.redis_log()
                try:
                    if path is not None:
                        self._sizes.append((time.time(), path, path.stat().st_size))
                except FileNotFoundError:
                    continue  # it was just rewritten
