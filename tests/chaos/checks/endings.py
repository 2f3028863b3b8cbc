"""Every event ends, once, and as its kind should."""

from __future__ import annotations

from tests.chaos.checks.faulted import Faulted
from tests.chaos.checks.verdict import OUTPUTS, Index, Verdict, name_of
from tests.chaos.evidence import Place

_DIED = "WorkerDied"


def lost(index: Index) -> Verdict:
    """Events without output, error event, skip or (where they publish nothing) a run that succeeded."""
    verdict = Verdict("lost events")
    for place, sent in index.sent.items():
        if place not in index.finished_at:
            runs = [f"attempt {run.attempt} {run.status}" for run in index.runs.get(place, ())]
            verdict.add(f"{name_of(place)} ({sent.kind}) has no end; runs: {', '.join(runs) or 'none'}")
    return verdict


def wrong_endings(index: Index, faulted: Faulted) -> Verdict:
    """Events that ended as they should not: in two ways, in an error without need, or run though nobody wants them."""
    verdict = Verdict("wrong endings")
    for place in {*index.runs, *index.published} - index.sent.keys():
        verdict.add(f"{name_of(place)} was never sent")
    for place, sent in index.sent.items():
        published = index.published.get(place, {})
        has_error = -1 in published
        if sent.kind in ("unwanted", "broken") and place in index.runs:
            verdict.add(f"{name_of(place)} ({sent.kind}) ran")
        if has_error and len(published) > 1:
            verdict.add(f"{name_of(place)} has both outputs and an error event")
        if has_error and (sent.kind in OUTPUTS or sent.kind == "deadly"):
            _check_death(place, sent.kind, published[-1][0].error_type, index, faulted, verdict)
    return verdict


def _check_death(place: Place, kind: str, error: str, index: Index, faulted: Faulted, verdict: Verdict) -> None:
    died = sum(faulted.interruption(run) is not None for run in index.runs.get(place, ()))
    if error == _DIED and died >= index.evidence.setting.max_attempts:
        verdict.count_in("given up after its workers died")
    else:
        verdict.add(f"{name_of(place)} ({kind}) failed with {error} after {died} deaths")
