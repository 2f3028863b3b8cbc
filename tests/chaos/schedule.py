"""When which fault strikes whom: drawn from the seed, so that it can be had again. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.options import Options

#: Each kind, and how long it lasts at least and at most, in seconds; (0, 0) is over at once.
KINDS: dict[str, tuple[float, float]] = {
    "ingester-kill": (0, 0),
    "ingester-term": (0, 0),
    "ingester-freeze": (12, 15),
    "ingester-add": (0, 0),
    "ingester-remove": (0, 0),
    "worker-kill": (0, 0),
    "worker-term": (0, 0),
    "worker-freeze": (12, 15),
    "child-kill": (0, 0),
    "child-term": (0, 0),
    "child-freeze": (12, 15),
    "redis-restart": (0.5, 3),
    "redis-frozen": (11, 14),
    "redis-tail-lost": (0.2, 2),
    "redis-flushed": (0, 0),
    "redis-emptied": (0.2, 2),
    "redis-cut": (0, 0),
    "redis-away": (3, 8),
    "redis-silent": (3, 8),
    "kafka-restart": (0, 2),
    "kafka-cut": (0, 0),
    "kafka-away": (3, 8),
    "kafka-silent": (3, 8),
    "registry-restart": (1, 4),
    "registry-frozen": (4, 8),
    "redis-emptied-and-ingester-kill": (0.2, 2),
    "redis-tail-lost-and-ingester-kill": (0.2, 2),
    "registry-restart-and-worker-kill": (1, 3),
}
#: Seconds from the end of a fault to the next that is to find all well again, and to one that is not.
_CALM_S = (16.0, 18.0)
_HASTE_S = (0.3, 4.0)
#: Seconds before the first fault and after the last.
_WARM_UP_S = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. *victim* is taken modulo the number of processes there are."""

    number: int
    #: Seconds after the start.
    at_s: float
    kind: str
    victim: int
    lasts_s: float


def schedule(options: Options) -> list[Fault]:
    """Return the faults in order; every kind comes once before any comes twice."""
    rng = random.Random(f"faults {options.seed}")
    faults: list[Fault] = []
    at_s = _WARM_UP_S
    for number, kind in enumerate(_drawn(rng, options.kinds or tuple(KINDS), options.faults)):
        lasts_s = rng.uniform(*KINDS[kind])
        faults.append(Fault(number, round(at_s, 2), kind, rng.randrange(1000), round(lasts_s, 2)))
        is_calm = rng.random() < options.calm
        at_s += lasts_s + rng.uniform(*_CALM_S) if is_calm else rng.uniform(*_HASTE_S)
    return faults


def lasts_s(faults: Sequence[Fault]) -> float:
    """Return the seconds from the start to the end of the last fault."""
    return max((fault.at_s + fault.lasts_s for fault in faults), default=0.0) + _WARM_UP_S


def _drawn(rng: random.Random, kinds: Sequence[str], count: int) -> list[str]:
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(kinds, len(kinds))
    return drawn[:count]
