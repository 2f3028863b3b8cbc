"""What a task says of its events besides their envelopes. Alike ones in a row travel as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kaufmann_celery.ledger import Past


class Given(NamedTuple):
    """One event of a task, besides its envelope."""

    offset: int
    d: int
    #: Which run of the handler this is, from 1; and how many before it failed.
    attempt: int = 1
    failures: int = 0
    #: Events of one number run one after the other.
    lane: int | None = None

    @classmethod
    def of(cls, offset: int, past: Past, lane: int | None) -> Given:
        """Return what a task says of the next dispatch of an event."""
        return cls(offset, past.d, past.attempt, past.failures, lane)


#: First and last offset, and what follows the offset in a `Given`.
Row = list[int | None]


def rows(events: Iterable[Given]) -> list[Row]:
    """Return the events as they travel."""
    found: list[Row] = []
    said: tuple[int | None, ...] = ()
    following = -1
    for event in events:
        if event[0] == following and event[1:] == said:
            found[-1][1] = following
        else:
            said = event[1:]
            found.append([event[0], event[0], *said])
        following = event[0] + 1
    return found


def read(travelled: Iterable[Sequence[int]]) -> list[Given]:
    """Return the events that `rows` was given."""
    return [Given(offset, *said) for first, last, *said in travelled for offset in range(first, last + 1)]
