"""In the ordered modes: within a lane each event runs only when the one before has ended, by their offsets."""

from __future__ import annotations

from collections import defaultdict

from tests.chaos.checks.faulted import Faulted
from tests.chaos.checks.repeats import Repeats
from tests.chaos.checks.verdict import Index, Verdict, name_of
from tests.chaos.evidence import Place
from tests.chaos.journal import Run

_TICK_S = 0.001
_TERMINAL = ("ok", "failed")
#: These never run.
_RUNLESS = ("unwanted", "broken")


def order(index: Index, faulted: Faulted, repeats: Repeats) -> Verdict:
    """Return where an event overtook another of its lane, or ran beside it.

    What does not count: a zombie's run after its lease, and repeats that a loss of Redis' data explains, for those go
    back by what they are.
    """
    verdict = Verdict("order violations")
    by = index.evidence.setting.ordering
    if by == "unordered":
        return verdict
    for places in _lanes(index, by).values():
        verdict.count_in("lanes")
        _check_lane(places, index, faulted, repeats, verdict)
    return verdict


def _lanes(index: Index, by: str) -> dict[object, list[Place]]:
    lanes: dict[object, list[Place]] = defaultdict(list)
    for place, sent in sorted(index.sent.items()):
        if sent.kind not in _RUNLESS and (by == "partition" or sent.key is not None):
            lanes[sent.partition if by == "partition" else (sent.partition, sent.key)].append(place)
    return lanes


def _check_lane(places: list[Place], index: Index, faulted: Faulted, repeats: Repeats, verdict: Verdict) -> None:
    all_runs = [(at, run) for at, place in enumerate(places) for run in index.runs.get(place, ())]
    counted = [
        (at, run) for at, run in all_runs
        if run.run not in repeats.explained_by_loss and not faulted.was_about_to_run(run)
    ]  # fmt: skip
    ends = [_ended(place, index) for place in places]
    highest, busy_until, busy = -1, 0.0, ""
    for at, run in sorted(counted, key=lambda one: one[1].started):
        here = f"{name_of(places[at])} at {run.started:.3f}"
        if at < highest:
            verdict.add(f"{here} began after {name_of(places[highest])} had")
        if at > highest:
            for before in range(max(0, highest), at):
                if ends[before] > run.started + _TICK_S:
                    verdict.add(f"{here} began before {name_of(places[before])} had ended ({ends[before]:.3f})")
            if busy_until > run.started + _TICK_S:
                verdict.add(f"{here} began while {busy} ran, until {busy_until:.3f}")
            highest = at
        end = faulted.effective_end(run)
        if end > busy_until:
            busy_until, busy = end, f"{name_of(places[at])} ({run.run})"


def _ended(place: Place, index: Index) -> float:
    """Return when an event first came to an end: by a run, or by the error event of one that had no more runs."""
    ends = [_end(run) for run in index.runs.get(place, ())]
    errors = [one.at for one in index.published.get(place, {}).get(-1, ())]
    return min([*ends, *errors], default=float("inf"))


def _end(run: Run) -> float:
    return run.ended if run.ended is not None and run.status in _TERMINAL else float("inf")
