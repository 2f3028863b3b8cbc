"""Outputs and error events: once each under exactly-once, else repeated only for a reason, and then the same."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.checks.faulted import ingester_ends
from tests.chaos.checks.repeats import Repeats
from tests.chaos.checks.verdict import Index, Verdict, name_of
from tests.chaos.evidence import Place, Published

#: Seconds from a record's acknowledgement until the ledger knows of it.
_BEFORE_S = 2.0
#: Seconds after which a member of the group that is not heard has lost its partitions.
_SESSION_S = 8.0


def outputs(index: Index, repeats: Repeats) -> Verdict:
    """Return the copies that should not be."""
    verdict = Verdict("outputs that should not be")
    exactly_once = index.evidence.setting.delivery == "exactly_once"
    causes = [*ingester_ends(index.evidence), *_outages(index)]
    for place, number, copies in _all(index):
        verdict.count_in("outputs and error events")
        first = copies[0]
        for copy in copies[1:]:
            verdict.count_in("duplicates")
            where = f"{name_of(place)} output {number}: {first.where} and {copy.where}"
            if exactly_once:
                verdict.add(f"{where}, under exactly_once")
            elif copy.message_id != first.message_id:
                verdict.add(f"{where} differ in their message ids")
            elif _ran_again(index, repeats, place, first, copy):
                verdict.count_in("duplicates of a repeated run")
            elif copy.digest != first.digest:
                verdict.add(f"{where} differ")
            elif not any(began <= copy.at and ended >= first.at - _BEFORE_S for began, ended in causes):
                verdict.add(f"{where}: nothing explains it ({first.at:.3f}, {copy.at:.3f})")
    return verdict


def _all(index: Index) -> Iterator[tuple[Place, int, list[Published]]]:
    for place, by_index in index.published.items():
        for number, copies in by_index.items():
            yield place, number, copies


def _outages(index: Index) -> list[tuple[float, float]]:
    """Return when Kafka could not answer, or Redis could not be told of what was published.

    A member that Kafka could not hear publishes as soon as it can, and may have lost its partitions by then.
    """
    after = {"kafka": _SESSION_S, "redis": 0.0}
    return [(one.began, one.ended + after[one.away]) for one in index.evidence.incidents if one.away in after]


def _ran_again(index: Index, repeats: Repeats, place: Place, first: Published, copy: Published) -> bool:
    """Return whether Redis' loss had the event handled again; one that never runs may have been judged again."""
    if place in index.runs:
        return any(run.run in repeats.explained_by_loss for run in index.runs[place])
    losses = (one for one in index.evidence.incidents if one.lost_from is not None)
    return any(one.ended >= first.at - _BEFORE_S and (one.lost_from or 0.0) <= copy.at for one in losses)
