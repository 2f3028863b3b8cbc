"""Judges a run by its evidence alone. Shares no code with the package under test: nothing of it is imported."""

from __future__ import annotations

from itertools import pairwise

from tests.chaos.checks.endings import lost, wrong_endings
from tests.chaos.checks.faulted import Faulted
from tests.chaos.checks.finished import commits
from tests.chaos.checks.order import order
from tests.chaos.checks.outputs import outputs
from tests.chaos.checks.processes import exits, outstanding
from tests.chaos.checks.recovery import recovery
from tests.chaos.checks.repeats import Repeats
from tests.chaos.checks.verdict import Index, Verdict
from tests.chaos.evidence import Evidence

#: The wall clock may be set by so much, in seconds, before times of different processes mean nothing.
_CLOCK_S = 0.05


def check(evidence: Evidence) -> list[Verdict]:
    """Return every figure; the run is good where each counts nothing wrong."""
    index, faulted = Index(evidence), Faulted(evidence)
    repeats = Repeats(index, faulted)
    return [
        _ran_to_the_end(evidence),
        lost(index),
        wrong_endings(index, faulted),
        repeats.verdict(),
        outputs(index, repeats),
        order(index, faulted, repeats),
        commits(index),
        recovery(index, repeats),
        outstanding(index),
        exits(evidence),
    ]


def _ran_to_the_end(evidence: Evidence) -> Verdict:
    verdict = Verdict("reasons to distrust the run")
    if evidence.gave_up:
        verdict.add(evidence.gave_up)
    if evidence.clock_shift_s > _CLOCK_S:
        verdict.add(f"the machine's clock was set by {evidence.clock_shift_s:.3f} s")
    for before, after in pairwise(evidence.generations):
        if after < before:
            verdict.add(f"Kafka went back from generation {before} to {after}: it forgot what it had acknowledged")
    for name, found in (("events", evidence.sent), ("runs", evidence.runs), ("commits", evidence.commits)):
        if not found:
            verdict.add(f"there are no {name}")
    return verdict
