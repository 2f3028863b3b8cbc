"""Stopping in time: who asked for it, how much of the time is left, and a loop that is left behind when it is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Parts of the time that a stop may take: until when all that is finished is settled and committed, until when the
#: group is left, and until when all has ended. The rest is the process' own.
SETTLED, LEFT, ENDED = 0.5, 0.75, 0.9
#: Seconds after which a signal is heard at the latest: one that comes just before its thread rests does not wake it.
_HEARD_S = 0.2


class Stop:
    """A request to stop, and the time that it may take. May be used by any thread."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._asked = threading.Event()
        self._asked_at = float("inf")

    def ask(self) -> None:
        """Ask for it; the time runs from the first call on."""
        if not self._asked.is_set():
            self._asked_at = time.monotonic()
            self._asked.set()

    @property
    def is_asked(self) -> bool:
        """Return whether somebody asked."""
        return self._asked.is_set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until somebody asks, None: however long that takes; return whether somebody did."""
        return self._asked.wait(timeout_s)

    def left_s(self, part: float) -> float:
        """Return in how many seconds *part*, from 0 to 1, of the time will be over."""
        return max(0.0, self._asked_at + part * self._timeout_s - time.monotonic())


def run_until(stop: Stop, loop: Callable[[], None], *, leave: Callable[[float], object]) -> bool:
    """Run *loop* in a thread; return whether it has ended, which it does once a stop is asked for, or by itself.

    One that does not end in time, for it waits, is left behind, a thread that does not keep the process from ending;
    before that *leave* is called, with the seconds that it may take. Raises what *loop* raises.
    """
    thread = _LoopThread(loop, stop)
    thread.start()
    try:
        while not stop.wait(_HEARD_S):
            pass
    finally:
        # Whoever waits here may be interrupted.
        stop.ask()
        if not thread.ended_within(stop.left_s(SETTLED)):
            leave(stop.left_s(LEFT))
        has_ended = thread.ended_within(stop.left_s(ENDED))
    return has_ended


class _LoopThread(threading.Thread):
    def __init__(self, loop: Callable[[], None], stop: Stop) -> None:
        super().__init__(name="kaufmann-loop", daemon=True)
        self._loop, self._stop_asked = loop, stop
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._loop()
        except BaseException as error:  # noqa: BLE001 - the thread's end: handed to who waits for it
            self._error = error
        finally:
            self._stop_asked.ask()

    def ended_within(self, timeout_s: float) -> bool:
        """Wait for its end, and return whether that came; raise what the loop raised."""
        self.join(timeout_s)
        if self._error is not None:
            raise self._error
        return not self.is_alive()
