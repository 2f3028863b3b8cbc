"""How far a long piece of work is, how fast it goes, and how long it will take. Pure, but for what says it."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

#: Seconds over which the rate is taken.
_OVER_S = 10.0
#: Seconds between log lines.
_EVERY_S = 5.0


@dataclass(slots=True)
class Progress:
    """Of *total* pieces, so many at each moment (monotonic seconds)."""

    total: int
    done: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def at(self, moment: float, done: int) -> None:
        """Note that *done* are done."""
        self.done = done
        self._seen.append((moment, done))
        while len(self._seen) > 2 and self._seen[1][0] <= moment - _OVER_S:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Pieces per second, of late."""
        if len(self._seen) < 2:
            return 0.0
        (began, first), (ended, last) = self._seen[0], self._seen[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest takes at this rate; None where nothing moves."""
        rate = self.rate
        return (self.total - self.done) / rate if rate > 0 else None

    def __str__(self) -> str:
        share = 100 if self.total <= self.done else 100 * self.done // self.total
        left = "" if self.done >= self.total else f", {_lasting(self.left_s)} left"
        return f"{share}%, {self.done:,} of {self.total:,}, {self.rate:,.0f}/s{left}"


class SaidNowAndThen:
    """Says progress at most every *every_s* seconds, and at the end."""

    def __init__(
        self, total: int, say: Callable[[Progress], None], *, every_s: float = _EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._progress = Progress(total)
        self._say = say
        self._every_s = every_s
        self._clock = clock
        self._said_at = clock()
        self._progress.at(self._said_at, 0)

    def __call__(self, done: int) -> None:
        """Note how many are done."""
        now = self._clock()
        is_end = done >= self._progress.total > self._progress.done
        if is_end or now - self._said_at >= self._every_s:
            self._progress.at(now, done)
            self._said_at = now
            self._say(self._progress)


def logged(what: str) -> Callable[[Progress], None]:
    """Return what writes a log line for each progress."""
    return lambda progress: log.info("%s: %s", what, progress, extra={"action": "progress"})


def _lasting(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
