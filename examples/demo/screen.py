"""What the demo prints: steps, and one line of figures that moves on a terminal and repeats elsewhere."""

from __future__ import annotations

import sys
import threading
import time

_WIDTH = 110
_EVERY_S = 1.0


class Screen:
    """Standard output, with the seconds since the start before each line. Thread-safe: services start side by side."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._told_at = 0.0
        self._moving = False
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        with self._lock:
            if self._moving:
                print()
            self._moving = False
            print(f"{self._elapsed():6.1f} s  {text}", flush=True)

    def progress(self, text: str) -> None:
        """Show the figures as they are now."""
        with self._lock:
            if self._terminal:
                print(f"\r{self._elapsed():6.1f} s  {text:<{_WIDTH}}", end="", flush=True)
                self._moving = True
            elif time.monotonic() - self._told_at >= _EVERY_S:
                self._told_at = time.monotonic()
                print(f"{self._elapsed():6.1f} s  {text}", flush=True)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
