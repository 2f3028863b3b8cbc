"""What the group's commits say is finished, held against what was."""

from __future__ import annotations

from collections import defaultdict

from tests.chaos.checks.verdict import Index, Verdict, name_of
from tests.chaos.commits import Unreadable, parse_metadata
from tests.chaos.evidence import Commit, Place

#: The broker counts whole milliseconds, for commits and for records alike.
_TICK_S = 0.001
#: An event that has been finished for so long, in seconds, is to be in every commit; where no fault kept its ingester
#: from noting that, which takes a moment more.
_COVERED_WITHIN_S = 30.0
_NOTED_WITHIN_S = 10.0


def _by_partition(index: Index) -> dict[int, list[Commit]]:
    found: dict[int, list[Commit]] = defaultdict(list)
    for commit in index.evidence.commits:
        found[commit.partition].append(commit)
    return found


def covered_at(index: Index) -> dict[Place, float]:
    """Return when each event was first said to be finished by a commit."""
    covered: dict[Place, float] = {}
    offsets: dict[int, list[int]] = defaultdict(list)
    for partition, offset in sorted(index.sent):
        offsets[partition].append(offset)
    for partition, commits in _by_partition(index).items():
        left = offsets[partition]
        for commit in commits:
            try:
                highest, unfinished = parse_metadata(commit.offset, commit.metadata)
            except Unreadable:
                highest, unfinished = commit.offset - 1, frozenset()
            still = []
            for at, offset in enumerate(left):
                if offset >= commit.offset and offset > highest:
                    still += left[at:]
                    break
                if offset >= commit.offset and offset in unfinished:
                    still.append(offset)
                else:
                    covered[partition, offset] = commit.at
            left = still
    return covered


def commits(index: Index) -> Verdict:
    """Commits that say of an unfinished event that it is finished, go back, or cannot be read."""
    verdict = Verdict("commits over unfinished events")
    verdict.figures["commits"] = len(index.evidence.commits)
    for place, at in covered_at(index).items():
        finished = index.finished_at.get(place, float("inf"))
        if finished > at + _TICK_S:
            late = f"{finished - at:.3f} s too early" if finished < float("inf") else "and it never ended"
            verdict.add(f"{name_of(place)} ({index.sent[place].kind}) was committed at {at:.3f}, {late}")
    noted = _noted(index)
    for partition, made in _by_partition(index).items():
        _check_sequence(partition, made, noted[partition], verdict)
    return verdict


def _noted(index: Index) -> dict[int, list[tuple[float, int]]]:
    """Return, by partition, when which events were finished, as far as their ingester has surely noted it.

    What nobody wants is finished when it is read, which nothing here tells.
    """
    noted: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for (partition, offset), at in index.finished_at.items():
        held_up = any(
            one.began <= at + _NOTED_WITHIN_S and one.ended >= at - _NOTED_WITHIN_S for one in index.evidence.incidents
        )
        if not held_up and index.sent[partition, offset].kind != "unwanted":
            noted[partition].append((at, offset))
    return noted


def _check_sequence(partition: int, made: list[Commit], noted: list[tuple[float, int]], verdict: Verdict) -> None:
    reached, before = -1, 0.0
    old, finished, next_old = sorted(noted), set[int](), 0
    for commit in made:
        if commit.offset < reached or commit.at < before:
            verdict.add(f"the commit of {partition} went back from {reached} to {commit.offset} at {commit.at:.3f}")
        reached, before = max(reached, commit.offset), max(before, commit.at)
        while next_old < len(old) and old[next_old][0] < commit.at - _COVERED_WITHIN_S:
            finished.add(old[next_old][1])
            next_old += 1
        try:
            highest, unfinished = parse_metadata(commit.offset, commit.metadata)
        except Unreadable as error:
            verdict.add(f"the metadata of {partition} at {commit.at:.3f} cannot be read: {error!s:.60}")
            continue
        finished = {offset for offset in finished if offset >= commit.offset}
        forgotten = {offset for offset in finished if offset > highest or offset in unfinished}
        if forgotten:
            verdict.add(f"the commit of {partition} at {commit.at:.3f} has forgotten {len(forgotten)} finished events")
