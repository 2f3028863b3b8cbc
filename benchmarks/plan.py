"""Which runs there are, in which order, and how many events each has."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from benchmarks.contestants import CONTESTANTS, Contestant
from benchmarks.handling import HANDLERS, Handler
from benchmarks.results import Planned
from benchmarks.targets import TARGETS

#: No contestant: how long events take to their handlers, and how many come in a second; None: one by one.
LATENCY = "latency"
ARRIVALS: Mapping[str, float | None] = {"idle": None, "300 a second": 300.0, "1,000 a second": 1000.0}
_LEAST_EVENTS = 100
#: After each whole round so many of the no-op handler's targets alone: these runs last some seconds, in which a machine
#: that does other things too may be half as fast, and most targets are ratios between them.
_SHORT_ROUNDS = 2


def plan(rounds: int, *, quick: bool = False, only: Collection[str] = ()) -> list[Planned]:
    """Return the runs: all of one round, mixed, before any of the next. *rounds*: whole ones.

    *quick*: the no-op handler and the targets, and no rounds of these alone.
    """
    needed = {run for target in TARGETS for run in target.needs}
    kinds = [(name, case) for name, one in CONTESTANTS.items() for case in one.handlers]
    chosen = [
        kind
        for kind in [*kinds, *((LATENCY, case) for case in ARRIVALS)]
        if (not only or kind[0] in only) and (not quick or kind in needed or kind[1] == "0 ms")
    ]
    # An order that is the same each time a benchmark goes on, as what it has done is left out.
    order = random.Random(rounds)
    short = [] if quick else [kind for kind in chosen if kind in needed and kind[1] == "0 ms"]
    kinds_of_rounds = [chosen, *[short] * _SHORT_ROUNDS] * rounds
    return [
        Planned(*kind, number)
        for number, kinds in enumerate(kinds_of_rounds, 1)
        for kind in order.sample(kinds, len(kinds))
    ]


def events_of(contestant: Contestant, handler: Handler, *, share: float = 1.0) -> int:
    """Return how many events last for about *share* of the time that a run with *handler* should last."""
    most = handler.most_per_s / (handler.processes if contestant.is_single else 1)
    return max(_LEAST_EVENTS, round(min(contestant.expected_per_s, most) * handler.run_s * share))


def titles() -> Mapping[str, str]:
    """Return each contestant's line in the table."""
    return {name: one.title for name, one in CONTESTANTS.items()}


def handlers() -> list[str]:
    """Return the table's columns."""
    return list(HANDLERS)
