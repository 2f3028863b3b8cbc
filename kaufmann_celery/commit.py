"""Step 6, commit: when to tell Kafka how far all is finished. By count or by time, one commit at a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """Whichever comes first."""

    #: Events finished since the last commit.
    threshold: int
    #: Seconds since the last commit.
    interval: float


class CommitClock:
    """Says when the next commit is due. Times are passed in (monotonic seconds)."""

    def __init__(self, policy: CommitPolicy, now: float) -> None:
        self._policy = policy
        self._last = now
        #: A commit is on its way; its answer is awaited before the next.
        self.in_flight = False

    def is_due(self, finished: int, now: float) -> bool:
        """Return whether to commit now, *finished* events having finished since the last commit."""
        if self.in_flight or finished == 0:
            return False
        return finished >= self._policy.threshold or now - self._last >= self._policy.interval

    def sent(self, now: float) -> None:
        """Note that a commit was sent."""
        self.in_flight = True
        self._last = now

    def answered(self) -> None:
        """Note that Kafka answered."""
        self.in_flight = False
