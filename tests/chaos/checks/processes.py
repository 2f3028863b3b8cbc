"""How much was outstanding, and processes that ended by themselves."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.checks.verdict import Index, Verdict
from tests.chaos.evidence import Evidence, Life, Place

#: Seconds until a process hears signals itself: it imports all that it needs before.
_STARTS_WITHIN_S = 30.0
#: Seconds after a loss of data until an ingester has held its memory against what is left.
_FORGOTTEN_S = 15.0


def outstanding(index: Index) -> Verdict:
    """Return the moments at which an ingester had claimed more than it may.

    What is finished is not outstanding, though the ledger has not heard of it yet: Redis may be away when Kafka has
    what an event published, and one that has lost its last moments brings back claims of events that were finished.
    Nor is what waits for its retry, though a Redis that has just lost data knows nothing of that.
    """
    verdict, evidence = Verdict("more than max_demand outstanding"), index.evidence
    for sample in evidence.samples:
        finished = {place for place in sample.places if index.finished_at.get(place, float("inf")) <= sample.at}
        forgotten = sample.places if _has_forgotten(evidence, sample.at) else ()
        waiting = {place for place in forgotten if _waits(index, place, sample.at)} - finished
        count = sample.own - len(finished) - len(waiting)
        if count > evidence.setting.max_demand:
            verdict.add(f"{sample.member} had {count} at {sample.at:.1f}")
    verdict.figures["samples"] = len(evidence.samples)
    verdict.figures["most claimed"] = max((one.own for one in evidence.samples), default=0)
    verdict.figures["most with what was taken over"] = max((one.all for one in evidence.samples), default=0)
    return verdict


def _has_forgotten(evidence: Evidence, at: float) -> bool:
    """Return whether Redis lost data shortly before *at*."""
    return any(
        one.lost_from is not None and one.lost_from <= at <= one.ended + _FORGOTTEN_S for one in evidence.incidents
    )


def _waits(index: Index, place: Place, at: float) -> bool:
    """Return whether the event's last run before *at* asked for another."""
    before = [run for run in index.runs.get(place, ()) if run.started <= at]
    return bool(before) and before[-1].status == "retry" and (before[-1].ended or at) < at


def exits(evidence: Evidence) -> Verdict:
    """Return the processes that ended by themselves, or not as they were asked to."""
    verdict = Verdict("processes that ended by themselves")
    for life in evidence.lives:
        if life.ended is not None and not _was_asked(life):
            verdict.add(f"{life.slot} ({life.pid}) ended with {life.code} at {life.ended:.3f}, asked: {life.asked}")
    verdict.figures["processes"] = len(evidence.lives)
    verdict.figures["slowest stop of an ingester in s"] = round(max(_stops(evidence), default=0.0), 1)
    return verdict


def _was_asked(life: Life) -> bool:
    """Return whether a process ended as it was asked to: also by the signal itself, while it was still starting."""
    started = life.asked_at is not None and life.asked_at - life.began > _STARTS_WITHIN_S
    return life.asked == "SIGKILL" or (life.asked == "SIGTERM" and life.code in (("0",) if started else ("0", "-15")))


def _stops(evidence: Evidence) -> Iterator[float]:
    """Yield how long each ingester took from SIGTERM to its end."""
    for life in evidence.lives:
        if life.role == "ingester" and life.asked == "SIGTERM" and life.ended is not None and life.asked_at is not None:
            yield life.ended - life.asked_at
