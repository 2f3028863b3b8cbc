"""Step 6, commit: tell Kafka how far all is finished. By count or by time, one commit at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kafka import TopicPartition

from kaufmann_celery.middleware import Begun, Hooks
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.messages import offsets_by_place
from kaufmann_celery.partitions.owned import OwnedPartition

log = logging.getLogger(__name__)

#: Seconds between commits at least, so that they cost no more where events come faster.
_LEAST_S = 0.2

Commits = Mapping[TopicPartition, Committed]


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """Whichever comes first."""

    #: Events finished since the last commit.
    threshold: int
    #: Seconds since the last commit.
    interval: float


class CommitClock:
    """Says when the next commit is due. Pure: times are passed in (monotonic seconds)."""

    def __init__(self, policy: CommitPolicy, now: float) -> None:
        self._policy = policy
        self._last = now
        #: A commit is on its way; its answer is awaited before the next.
        self.in_flight = False

    def is_due(self, finished: int, now: float) -> bool:
        """Return whether to commit now, *finished* events having finished since the last commit."""
        if self.in_flight or finished == 0:
            return False
        since = now - self._last
        return since >= self._policy.interval or (finished >= self._policy.threshold and since >= _LEAST_S)

    def sent(self, now: float) -> None:
        """Note that a commit was sent."""
        self.in_flight = True
        self._last = now

    def answered(self) -> None:
        """Note that Kafka answered."""
        self.in_flight = False


class Committer:
    """Sends commits of the partitions owned here, and takes the answers. Used under the ingester's lock."""

    def __init__(
        self,
        clock: CommitClock,
        send: Callable[[Commits], None],
        *,
        at_once: Callable[[], None] | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._clock = clock
        self._send = send
        self._hooks = hooks or None
        #: The hooks around the commit whose answer is awaited.
        self._begun: Begun | None = None
        #: Commits what is finished by itself, in a transaction.
        self._at_once = at_once

    @property
    def in_flight(self) -> bool:
        """Return whether a commit's answer is awaited."""
        return self._clock.in_flight

    def commit_due(self, owned: Mapping[TopicPartition, OwnedPartition], now: float, *, hurry: bool = False) -> None:
        """Commit what is finished, where it is time, or *hurry* and nothing is in flight."""
        finished = sum(one.uncommitted for one in owned.values())
        if not (self._clock.is_due(finished, now) or (hurry and finished and not self.in_flight)):
            return
        if self._at_once is not None:
            self._at_once()
            self._clock.sent(now)
            self._clock.answered()
            return
        self.send(commits_of(owned.values()), now)
        for one in owned.values():
            one.uncommitted = 0

    def send(self, commits: Commits, now: float) -> None:
        """Commit *commits*; the answer comes as a `CommitDone`."""
        if commits:
            self._clock.sent(now)
            self._begun = self._hooks and self._hooks.begin(offsets_by_place(commits))
            self._send(commits)

    def answered(
        self, commits: Commits, error: BaseException | None, owned: Mapping[TopicPartition, OwnedPartition]
    ) -> None:
        """Note Kafka's answer: the ledger may forget the marks that are covered, or it is tried again."""
        self._clock.answered()
        if self._begun is not None:
            self._begun.end(error=error)
        for partition, committed in commits.items():
            one = owned.get(partition)
            if one is None or committed.incarnation != one.ledger.incarnation:
                continue
            if error is None:
                one.committed = one.forgettable = committed
            else:
                one.uncommitted += 1
        if error is not None:
            log.warning("commit failed: %s; trying again", type(error).__name__, extra={"action": "commit_failed"})


def commits_of(owned: Iterable[OwnedPartition]) -> dict[TopicPartition, Committed]:
    """Return what to commit now for *owned*."""
    return {one.partition: one.watermark.committed(one.ledger.incarnation) for one in owned if one.uncommitted}
