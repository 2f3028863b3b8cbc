"""One run's circumstances, and what it came to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.handling import Handler
from benchmarks.results import Planned, Results
from benchmarks.traffic import Settings


class RunFailed(Exception):
    """A run that took too long, lost events or crashed: it has no figure."""


def note(results: Results, planned: Planned, at: str, measure: Callable[[], Mapping[str, float]]) -> bool:
    """Make a run, keep and print its figures; return whether it has any: one that failed is made again."""
    kind = f"{at:>7} {planned.contestant:18} {planned.case:>9}"
    try:
        found = measure()
    except RunFailed as error:
        print(f"{kind}  FAILED: {error}", flush=True)
        return False
    results.add(planned, found)
    print(f"{kind}  {'  '.join(f'{name} {figure:,.1f}' for name, figure in found.items())}", flush=True)
    return True


def say_failed(made: Collection[bool]) -> None:
    """End with an exit code where some of the runs failed."""
    if not all(made):
        raise SystemExit(f"{len(made) - sum(made)} runs FAILED, see above; started again, these are made again")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a contestant is given: services, a topic of its own, how many events will be in it, their handler."""

    stack: Settings
    topic: str
    events: int
    handler: Handler
    #: Where its processes count what they have handled.
    counts: Path
    #: Seconds after which it has failed.
    patience_s: float

    @property
    def environ(self) -> Mapping[str, str]:
        """What its processes need to know."""
        return {
            **self.stack,
            **self.handler.environ,
            "BENCH_TOPIC": self.topic,
            "BENCH_COUNTS": str(self.counts),
        }
