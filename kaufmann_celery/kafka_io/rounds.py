"""A round: what events came to, to be published together, and what Kafka refuses of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from kaufmann_celery.errors import RefusedForGood
from kaufmann_celery.outputs.outcome import Outcome, OutRecord
from kaufmann_celery.partitions.owned import OwnedPartition


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One event's outcome, to be published."""

    owned: OwnedPartition
    offset: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refused:
    """An event with records that Kafka refuses for good, and why."""

    entry: Entry
    #: The records of it that are not in Kafka.
    left: Outcome
    why: Sequence[tuple[OutRecord, RefusedForGood]]


#: Takes what Kafka has: these events are finished.
Finish = Callable[[Sequence[Entry]], None]


def records_of(entries: Iterable[Entry]) -> list[OutRecord]:
    """Return all records of a round, in its order."""
    return [record for entry in entries for record in entry.outcome.records]


def refusals(entry: Entry, answers: Iterable[object]) -> list[tuple[OutRecord, RefusedForGood]]:
    """Take the answers for the entry's records; return those that are refused for good."""
    answered = list(zip(entry.outcome.records, answers, strict=False))
    return [(record, why) for record, why in answered if isinstance(why, RefusedForGood)]
