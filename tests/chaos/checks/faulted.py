"""Which run was interrupted by which fault: what the guarantees allow to happen twice rests on it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from tests.chaos.evidence import Evidence, Incident, Life
from tests.chaos.journal import Run

#: Seconds from a signal until the process has surely heard it, and from a look at the clock to the next line.
_SLACK_S = 0.1
#: Seconds from a process' waking until it has called a handler that it was about to call.
_WOKEN_S = 0.5
#: A task reports what it has done at least so often, in seconds, and a report takes at most so long while all is well:
#: what is published is encoded first, and for that a new process asks for schemas.
_REPORT_EVERY_S, _REPORT_S = 0.05, 10.0
#: The longest pause between two attempts to report, while Redis is away.
_REPORT_AGAIN_S = 6.0
#: A lease is renewed every third of itself, so two thirds of it are left at least; less what a slow thread costs.
_LEASE_LEFT, _LEASE_SLACK_S = 2 / 3, 1.5


@dataclass(frozen=True, slots=True)
class Interruption:
    """Why a run may be repeated: its process died, or stood still for longer than its lease."""

    kind: Literal["death", "freeze"]
    #: From then on it did nothing.
    at: float
    #: No repeat can begin before.
    repeat_after: float


class Faulted:
    """The faults, run by run."""

    def __init__(self, evidence: Evidence) -> None:
        self._setting = evidence.setting
        self._incidents = evidence.incidents
        self._deaths: dict[int, list[float]] = defaultdict(list)
        self._freezes: dict[int, list[Incident]] = defaultdict(list)
        for incident in evidence.incidents:
            for pid in incident.killed:
                self._deaths[pid].append(incident.ended)
            for pid in incident.frozen:
                self._freezes[pid].append(incident)
        for life in evidence.lives:
            if life.role == "worker" and life.ended is not None and life.code not in ("0", None):
                self._deaths[life.pid].append(life.ended)
        self._by_pid: dict[int, list[Run]] = defaultdict(list)
        for run in evidence.runs:
            self._by_pid[run.pid].append(run)
            if run.dies:
                self._deaths[run.pid].append(run.started + _SLACK_S if run.died is None else run.died)

    def interruption(self, run: Run) -> Interruption | None:
        """Return what kept *run* from being reported; None where it surely was."""
        until = self._reported_by(run)
        for at in (*self._deaths[run.pid], *self._deaths[run.parent]):
            if run.started - _SLACK_S <= at <= until:
                return Interruption("death", at, run.started)
        return self._freeze_of(run, until)

    def was_about_to_run(self, run: Run) -> bool:
        """Return whether its process may have stood still just before the handler was called, past its lease.

        It had asked the ledger then, and asks no more when it wakes: one run, the first one.
        """
        same = self._by_pid[run.pid]
        return any(
            self._is_long(freeze) and freeze.ended - _SLACK_S <= run.started <= freeze.ended + _WOKEN_S
            and not any(freeze.ended <= one.started < run.started for one in same)
            for freeze in self._freezes[run.pid]
        )  # fmt: skip

    def effective_end(self, run: Run) -> float:
        """Return when a run stopped doing anything that counts: what a zombie does after its lease does not."""
        interruptions = [self.interruption(run)] if run.ended is None else []
        # Also where its process died after it woke.
        interruptions.append(self._freeze_of(run, self._reported_by(run)))
        ended = float("inf") if run.ended is None else run.ended
        return max(run.started, min([ended, *(one.at for one in interruptions if one is not None)]))

    def _freeze_of(self, run: Run, until: float) -> Interruption | None:
        lease_s = self._setting.lease_s
        for freeze in self._freezes[run.pid]:
            if self._is_long(freeze) and run.started - _SLACK_S <= freeze.ended and freeze.began <= until:
                after = max(run.started, freeze.began) + lease_s * _LEASE_LEFT - _LEASE_SLACK_S
                return Interruption("freeze", freeze.began, after)
        return None

    def _is_long(self, freeze: Incident) -> bool:
        return freeze.ended - freeze.began >= self._setting.lease_s * _LEASE_LEFT - _LEASE_SLACK_S

    def _reported_by(self, run: Run) -> float:
        """Return when the ledger has surely heard of the run's end."""
        if run.ended is None:
            return float("inf")
        same = self._by_pid[run.pid]
        ends = [one.ended for one in same if one.ended is not None and one.task == run.task]
        later = [end for end in ends if end >= run.ended + _REPORT_EVERY_S]
        by = (min(later) if later else max(ends)) + _REPORT_S
        for incident in sorted(self._incidents, key=lambda one: one.began):
            if incident.began <= by and incident.ended >= run.ended and self._holds_up(incident, run):
                by = max(by, incident.ended + _REPORT_AGAIN_S)
        # A process runs one task after the other, and reports the one first.
        return min([by, *(one.started for one in same if one.task != run.task and one.started >= run.ended)])

    def _holds_up(self, incident: Incident, run: Run) -> bool:
        return incident.away in ("redis", "registry") or run.pid in incident.frozen


def ingester_ends(evidence: Evidence) -> list[tuple[float, float]]:
    """Return from when until when each ingester was ended or frozen that did not hand over in peace."""
    ends = [(life.ended - _SLACK_S, life.ended) for life in evidence.lives if _ended_badly(life) and life.ended]
    pids = {life.pid for life in evidence.lives if life.role == "ingester"}
    ends += [(one.began, one.ended) for one in evidence.incidents if pids & {*one.frozen}]
    return sorted(ends)


def ingesters_at(evidence: Evidence, at: float) -> int:
    """Return how many ingesters lived at one moment."""
    return sum(life.role == "ingester" and life.began <= at <= (life.ended or float("inf")) for life in evidence.lives)


def _ended_badly(life: Life) -> bool:
    return life.role == "ingester" and life.code != "0"
