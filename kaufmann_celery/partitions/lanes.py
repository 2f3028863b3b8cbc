"""Lanes: the events of one partition that run one after the other, each once the one before is settled. Pure.

What is settled is what the ingester itself holds as settled, not an outcome in Redis: if Redis lost that, the second
event would start while the first runs again.

Consecutive events of a lane may share one task, which runs them in order and stops at the first that does not succeed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque

from kaufmann_celery.partitions.pending import Pending

#: Most events of one lane that are let go together.
_MOST_TOGETHER = 200


class Lanes:
    """All lanes of one partition. An event without a lane is free at any time."""

    def __init__(self) -> None:
        self._lanes: dict[str, list[Pending]] = {}
        self._lane_of: dict[int, str] = {}
        #: Parked events whose turn has come.
        self.freed: deque[Pending] = deque()

    def enter(self, pending: Pending) -> bool:
        """Put an event in its place; return whether it may go on at once, alone or with the one before it."""
        name = pending.decoded.lane
        if name is None:
            return True
        lane = self._lanes.setdefault(name, [])
        at = len(lane)
        if lane and lane[-1].offset > pending.offset:
            # Adopted events are read before others that were held back.
            at = bisect_left(lane, pending.offset, key=lambda one: one.offset)
        lane.insert(at, pending)
        self._lane_of[pending.offset] = name
        return at == 0 or (at < _MOST_TOGETHER and _may_share(lane[at - 1], pending))

    def is_next(self, pending: Pending, taken: Counter[str] | None = None) -> bool:
        """Return whether all before it in its lane are settled, or *taken* into the same task."""
        name = pending.decoded.lane
        if name is None:
            return True
        lane, at = self._lanes[name], taken[name] if taken else 0
        return at < len(lane) and lane[at] is pending

    def admits(self, pending: Pending, taken: Counter[str] | None = None) -> bool:
        """Return whether the event may go on now, as `is_next` says; else it is parked until it is freed."""
        pending.parked = not self.is_next(pending, taken)
        return not pending.parked

    def leave(self, offset: int) -> None:
        """Note that an event is settled: those behind it may go on."""
        name = self._lane_of.pop(offset, None)
        if name is None:
            return
        lane = self._lanes[name]
        del lane[0 if lane[0].offset == offset else bisect_left(lane, offset, key=lambda one: one.offset)]
        if not lane:
            del self._lanes[name]
        elif lane[0].parked:
            self._free(lane)

    def _free(self, lane: list[Pending]) -> None:
        for at, pending in enumerate(lane[:_MOST_TOGETHER]):
            if not pending.parked:
                return
            pending.parked = False
            if at and not _may_share(lane[at - 1], pending):
                pending.parked = True
                return
            self.freed.append(pending)


def _may_share(before: Pending, pending: Pending) -> bool:
    return before.is_fresh and pending.is_fresh and before.decoded.handler is pending.decoded.handler
