"""An outage as the log tells it: at once, then less and less often, and once more when it is over. Reads no clock."""

from __future__ import annotations

#: Seconds until the same is said again, doubled each time, up to the longest.
_FIRST_S = 1.0
_LONGEST_S = 30.0
#: Different things remembered as said.
_MOST_SAID = 100


class Outage:
    """Of one loop, which may try far more often than its log is to say so. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._failed_at = 0.0
        #: For what was said: when to say it again, and how long to wait after that.
        self._said: dict[str, tuple[float, float]] = {}

    def is_news(self, what: str, now: float) -> bool:
        """Note a failure; return whether to log *what* it was."""
        if self._began is None:
            self._began = now
        self._failed_at = now
        due, pause = self._said.get(what, (now, _FIRST_S))
        if now < due:
            return False
        if now > due + _LONGEST_S:
            pause = _FIRST_S
        if len(self._said) >= _MOST_SAID:
            self._said.clear()
        self._said[what] = (now + pause, min(_LONGEST_S, 2 * pause))
        return True

    def is_quiet_since(self, moment: float) -> bool:
        """Return whether there is an outage, and nothing has failed since *moment*."""
        return self._began is not None and self._failed_at < moment

    def ended(self, now: float) -> float | None:
        """Note that all answers; return for how many seconds it did not, None where there was no outage."""
        began, self._began = self._began, None
        self._said.clear()
        return None if began is None else now - began
