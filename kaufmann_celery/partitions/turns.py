"""In which order partitions take new events, and how many each. Pure: times are passed in.

Each turn another partition comes first, so that none starves.

Where events have lanes, each is reported before the next of its lane begins, and one report does for an event of every
lane in the task: it needs as many as its longest lane has events. Fewest are needed where a partition has one task at
a time, with events of all its lanes. So it waits for that task for a moment, where others keep the workers busy; not
where handlers are slow, for then reports cost little, and a partition with more events than others would fall behind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf
from weakref import WeakKeyDictionary

from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.tasks.grouping import MOST_IN_TASK

#: Seconds that a partition waits for its task: one of its events may take long, or wait for its retry.
_MOMENT_S = 0.25


class Turns:
    """Whose turn it is."""

    def __init__(self, *, has_lanes: bool) -> None:
        self._has_lanes = has_lanes
        self._number = 0
        #: When each was last sent a task (monotonic seconds).
        self._sent_at: WeakKeyDictionary[OwnedPartition, float] = WeakKeyDictionary()
        #: Of this turn: so many tasks keep the workers busy, None where none waits; who has one, and what others took.
        self._enough: int | None = None
        self._busy: set[OwnedPartition] = set()
        self._taken: Counter[OwnedPartition] = Counter()

    def order(self, partitions: Sequence[OwnedPartition]) -> list[OwnedPartition]:
        """Return *partitions* in the order of the next turn."""
        first = self._number % len(partitions) if partitions else 0
        return [*partitions[first:], *partitions[:first]]

    def begin(self, partitions: Sequence[OwnedPartition], now: float, enough: int | None) -> list[OwnedPartition]:
        """Begin a turn; return *partitions* in its order.

        *enough*: tasks that keep the workers busy; None where handlers are slow, and each takes what there is.
        """
        ordered = self.order(partitions)
        self._number += 1
        self._enough = enough if self._has_lanes else None
        if self._enough is not None:
            self._busy = {one for one in partitions if one.pending and now - self._sent_at.get(one, -inf) < _MOMENT_S}
            self._taken.clear()
            ordered.sort(key=self._busy.__contains__)
        return ordered

    def room(self, owned: OwnedPartition, slots: int) -> int:
        """Return how many of the free *slots* a partition may take. Asked in the order of the turn."""
        if self._enough is None:
            return slots
        if owned in self._busy:
            return slots if len(self._busy) + len(self._taken) < self._enough else 0
        return min(slots, MOST_IN_TASK - self._taken[owned])

    def took(self, owned: OwnedPartition, events: int) -> int:
        """Note that a partition has taken so many events; return that."""
        if events and owned not in self._busy:
            self._taken[owned] += events
        return events

    def sent(self, owned: OwnedPartition, now: float) -> None:
        """Note that a task of the partition was sent."""
        self._sent_at[owned] = now
