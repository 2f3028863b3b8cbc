"""In which order partitions take new events, and how many each. Pure: times are passed in.

Whoever took some longest ago comes first, so that none starves: neither behind one whose events wait for each other,
some of which may always go on, nor because slots come free in every other turn.

Where events have lanes, each is reported before the next of its lane begins, and one report does for an event of every
lane in the task: it needs as many as its longest lane has events. Fewest are needed where a partition has one task at
a time, with events of all its lanes. So it waits for that task for a moment, where others keep the workers busy; not
where handlers are slow, for then reports cost little beside them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import inf
from weakref import WeakKeyDictionary

from kaufmann_celery.partitions.owned import OwnedPartition

#: Events that a partition takes for its one task: with more the task takes longer, and no fewer reports for an event.
_MOST_AT_A_TIME = 200
#: Seconds that a partition waits for its task: one of its events may take long, or wait for its retry.
_MOMENT_S = 0.25


class Turns:
    """Whose turn it is."""

    def __init__(self, *, has_lanes: bool) -> None:
        self._has_lanes = has_lanes
        self._numbers = itertools.count(1)
        #: When each had its last turn, by number, and was last sent a task (monotonic seconds).
        self._had: WeakKeyDictionary[OwnedPartition, int] = WeakKeyDictionary()
        self._sent_at: WeakKeyDictionary[OwnedPartition, float] = WeakKeyDictionary()
        #: So many tasks keep the workers busy, None where none waits for its task; who has one; how many others took
        #: events in this round.
        self._enough: int | None = None
        self._busy: set[OwnedPartition] = set()
        self._others = 0

    def order(self, partitions: Sequence[OwnedPartition]) -> list[OwnedPartition]:
        """Return *partitions*, whoever had its turn longest ago first."""
        return sorted(partitions, key=lambda one: self._had.get(one, 0))

    def begin(self, partitions: Sequence[OwnedPartition], now: float, enough: int | None) -> list[OwnedPartition]:
        """Begin a round of turns; return *partitions* in its order.

        *enough*: tasks that keep the workers busy; None where handlers are slow, and each takes what there is.
        """
        self._enough, self._others = enough if self._has_lanes else None, 0
        with_a_task = (one for one in partitions if one.pending and now - self._sent_at.get(one, -inf) < _MOMENT_S)
        self._busy = set() if self._enough is None else set(with_a_task)
        return sorted(self.order(partitions), key=self._busy.__contains__)

    def room(self, owned: OwnedPartition, slots: int) -> int:
        """Return how many of the free *slots* a partition may take. Asked in the order of the round."""
        if self._enough is None:
            return slots
        if owned in self._busy:
            return slots if len(self._busy) + self._others < self._enough else 0
        return min(slots, _MOST_AT_A_TIME)

    def had(self, owned: OwnedPartition) -> None:
        """Note that a partition has had its turn: it took events, or could not be decoded."""
        self._had[owned] = next(self._numbers)
        self._others += owned not in self._busy

    def sent(self, owned: OwnedPartition, now: float) -> None:
        """Note that a task of the partition was sent."""
        self._sent_at[owned] = now
