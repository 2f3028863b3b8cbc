"""How soon all went on after each fault."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property

from tests.chaos.checks.repeats import Repeats
from tests.chaos.checks.verdict import Index, Verdict

#: Seconds from the end of a fault to the next finished event of each partition that has any to finish.
_RECOVERY_S = 15.0
#: These wait, or die, because they are asked to: they do not hold up others, and others are looked at.
_WAITING_KINDS = ("flaky", "exhausted", "deadly")


class Progress:
    """What each ingester finished when."""

    def __init__(self, index: Index) -> None:
        self._index = index

    def of_owner(self, partition: int, began: float, ended: float) -> int:
        """Return how many events the partition's ingester finished in a span of time, in all its partitions."""
        return sum(self._finished_in(one, began, ended) for one in self._beside(partition, ended))

    def in_turn(self, partition: int, at: float) -> int:
        """Return how many events of its ingester's partitions may come before a partition's, were each to fill it."""
        return self._index.evidence.setting.max_demand * (1 + len(self._beside(partition, at)))

    def _beside(self, partition: int, at: float) -> list[int]:
        """Return the partitions that belonged to the same ingester, this one among them."""
        owner = self._owner(partition, at)
        return [one for one in range(self._partitions) if owner is not None and self._owner(one, at) == owner]

    def _finished_in(self, partition: int, began: float, ended: float) -> int:
        times = self._finished[partition]
        return bisect_left(times, ended) - bisect_right(times, began)

    def _owner(self, partition: int, at: float) -> str | None:
        before = [one.member for one in self._index.evidence.owners if one.partition == partition and one.at <= at]
        return before[-1] if before else None

    @cached_property
    def _partitions(self) -> int:
        return 1 + max((one.partition for one in self._index.evidence.owners), default=-1)

    @cached_property
    def _finished(self) -> dict[int, list[float]]:
        found: dict[int, list[float]] = defaultdict(list)
        for place, at in sorted(self._index.finished_at.items(), key=lambda one: one[1]):
            found[place[0]].append(at)
        return found


def recovery(index: Index, repeats: Repeats) -> Verdict:
    """Return where a partition with unfinished events finished none for too long, while no fault was going on.

    On a slow machine a partition may have to wait for its turn: an ingester that goes on with its other partitions has
    recovered, as long as it does not pass one over again and again. What runs again because Redis lost data is finished
    again, and this counts.
    """
    verdict = Verdict("slow recoveries")
    faults = _merged([(0.0, index.evidence.began), *((one.began, one.ended) for one in index.evidence.incidents)])
    progress, longest = Progress(index), 0.0
    for partition, spans in _waits(index, repeats).items():
        for start, end in (piece for span in spans for piece in _calm_pieces(*span, faults)):
            if end - start <= _RECOVERY_S:
                longest = max(longest, end - start)
                continue
            said = f"partition {partition} finished nothing from {start:.1f} for {end - start:.1f} s"
            if not progress.of_owner(partition, end - _RECOVERY_S, end):
                verdict.add(f"{said}, nor did its ingester elsewhere")
            elif (others := progress.of_owner(partition, start, end)) > progress.in_turn(partition, end):
                verdict.add(f"{said}, though its ingester finished {others} events elsewhere")
            else:
                verdict.count_in("waits for a turn on a slow machine")
    verdict.figures["longest wait in s"] = round(longest, 1)
    return verdict


def _waits(index: Index, repeats: Repeats) -> dict[int, list[tuple[float, float]]]:
    """Return, partition by partition, the spans with something to finish and nothing finished."""
    changes: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for place, sent in index.sent.items():
        if sent.kind not in _WAITING_KINDS and sent.kind != "unwanted":
            changes[sent.partition].append((sent.at, 1))
            if place in index.finished_at:
                changes[sent.partition].append((index.finished_at[place], -1))
    for (partition, _), runs in index.runs.items():
        again = (one for one in runs if one.run in repeats.explained_by_loss and one.status == "ok")
        changes[partition] += [(one.ended, 0) for one in again if one.ended is not None]
    found = {}
    for partition, moments in changes.items():
        backlog, since, spans = 0, 0.0, []
        for at, change in sorted(moments, key=lambda one: (one[0], -one[1])):
            if backlog and change <= 0:
                spans.append((since, at))
                since = at
            elif not backlog:
                since = at
            backlog += change
        found[partition] = spans
    return found


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for began, ended in sorted(spans):
        if merged and began <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], ended))
        else:
            merged.append((began, ended))
    return merged


def _calm_pieces(began: float, ended: float, faults: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    for fault_began, fault_ended in faults:
        if fault_ended < began:
            continue
        if fault_began > ended:
            break
        if fault_began > began:
            yield began, fault_began
        began = fault_ended
    if ended > began:
        yield began, ended
