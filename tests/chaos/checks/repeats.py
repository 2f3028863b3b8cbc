"""A handler runs twice for one event only for the reasons that the third guarantee names."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from itertools import pairwise

from tests.chaos.checks.faulted import Faulted, ingester_ends, ingesters_at
from tests.chaos.checks.finished import covered_at
from tests.chaos.checks.verdict import RETRIES, Index, Verdict, name_of
from tests.chaos.evidence import Incident, Place
from tests.chaos.journal import Run

#: Seconds before and after a loss of Redis' data within which an ingester's end, or a partition's move, belongs to it:
#: until the others have heard of it they cannot have taken over what was known.
_NEAR_S = 20.0
#: A task has its leases this long before its first run begins, at most, in seconds.
_BEGIN_S = 0.1


class Repeats:
    """Every second run of an event, and why it was."""

    def __init__(self, index: Index, faulted: Faulted) -> None:
        self._index, self._faulted = index, faulted
        self._losses = [one for one in index.evidence.incidents if one.lost_from is not None]
        self._covered_at = covered_at(index)
        self._ends = ingester_ends(index.evidence)
        #: When the first run of each task began, by the process it was in.
        self._begun_at: dict[tuple[int, str], float] = {}
        for run in sorted(index.evidence.runs, key=lambda run: run.started):
            self._begun_at.setdefault((run.pid, run.task), run.started)

    @cached_property
    def explained_by_loss(self) -> set[str]:
        """Names of the runs that are repeats because Redis lost data."""
        return {run.run for runs in self._index.runs.values() for run in self._after_loss(runs)}

    def verdict(self) -> Verdict:
        """Return the repeats that nothing explains."""
        verdict = Verdict("unexplained repeats")
        budget: Counter[int] = Counter()
        for place, runs in self._index.runs.items():
            retries_left = self._retries(place)
            for before, run in pairwise(runs):
                if is_retry(before, run, retries_left):
                    retries_left -= self._was_counted(before, run)
                    verdict.count_in("retries")
                else:
                    self._judge(place, before, run, budget, verdict)
        for number, count in budget.items():
            self._check_budget(self._losses[number], count, verdict)
        return verdict

    def _was_counted(self, before: Run, run: Run) -> bool:
        """Return whether the ledger still knew of a failure when the event ran again: else it took no try away."""
        return self._faulted.interruption(before) is None and self._loss_between(before, run) is None

    def _judge(self, place: Place, before: Run, run: Run, budget: Counter[int], verdict: Verdict) -> None:
        verdict.count_in("repeats")
        interruption = self._faulted.interruption(before)
        if interruption is not None and run.started >= interruption.repeat_after:
            verdict.count_in(f"repeats after a {interruption.kind}")
        elif self._faulted.was_about_to_run(run):
            verdict.count_in("repeats by one that stood still")
        elif (loss := self._loss_between(before, run)) is None:
            verdict.add(self._say(place, before, run, "no fault explains it"))
        elif self._was_committed(place, loss):
            verdict.add(self._say(place, before, run, f"committed before {loss.kind}"))
        else:
            verdict.count_in("repeats after a loss")
            if not self._was_let_go_with_it(place, loss):
                budget[self._losses.index(loss)] += 1

    def _retries(self, place: Place) -> int:
        return RETRIES.get(self._index.sent[place].kind, 0) if place in self._index.sent else 0

    def _after_loss(self, runs: list[Run]) -> list[Run]:
        """Return the runs that repeat what was lost, and those that follow because one of these did not succeed."""
        found: list[Run] = []
        for before, run in pairwise(runs):
            follows = before in found and before.status != "ok"
            if follows or self._loss_between(before, run) is not None:
                found.append(run)
        return found

    def _loss_between(self, before: Run, run: Run) -> Incident | None:
        """Return the last loss that fell between two runs, or into the first, or into the task that brought it.

        A task that had begun before holds what it was to run, and a ledger that has lost it lets it run again.
        """
        begun = self._begun_at.get((before.pid, before.task), before.started) - _BEGIN_S
        return next(
            (one for one in reversed(self._losses) if one.lost_from is not None
             and begun <= one.ended and run.started >= one.lost_from),
            None,
        )  # fmt: skip

    def _was_committed(self, place: Place, loss: Incident) -> bool:
        return self._covered_at.get(place, float("inf")) < (loss.lost_from or 0.0)

    def _was_let_go_with_it(self, place: Place, loss: Incident) -> bool:
        """Return whether the event was finished and not committed when its ingester ended, or lost the partition,
        around the loss: then neither memory nor ledger nor Kafka knew of it.
        """
        finished = self._index.finished_at.get(place, float("inf"))
        covered = self._covered_at.get(place, float("inf"))
        moved = [(one.at, one.at) for one in self._index.evidence.owners if one.partition == place[0]]
        return any(
            began <= loss.ended + _NEAR_S and ended >= (loss.lost_from or 0.0) - _NEAR_S
            and finished <= ended and covered >= began
            for began, ended in (*self._ends, *moved)
        )  # fmt: skip

    def _check_budget(self, loss: Incident, count: int, verdict: Verdict) -> None:
        evidence = self._index.evidence
        allowed = evidence.setting.max_demand * max(1, ingesters_at(evidence, loss.began))
        verdict.figures["most repeats after one loss"] = max(
            count, verdict.figures.get("most repeats after one loss", 0)
        )
        for _ in range(count - allowed):
            verdict.add(f"{count} repeats after {loss.kind}, {allowed} are allowed")

    def _say(self, place: Place, before: Run, run: Run, why: str) -> str:
        kind = self._index.sent[place].kind if place in self._index.sent else "?"
        ended = f"{before.status} at {before.ended:.3f}" if before.ended else "no end"
        return (
            f"{name_of(place)} ({kind}): run {before.run} of {before.pid} from {before.started:.3f}, {ended}; "
            f"again as {run.run} by {run.pid} at {run.started:.3f}, attempt {run.attempt}: {why}"
        )


def is_retry(before: Run, run: Run, retries_left: int) -> bool:
    """Return whether *run* is what the handler's failure asked for.

    A handler cannot tell how often it failed from how often its process died: it may take its last try too early.
    """
    if before.ended is None or run.started < before.ended:
        return False
    return before.status == "retry" or (before.status == "failed" and retries_left > 0)
