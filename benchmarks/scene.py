"""One run's circumstances, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.handling import Handler
from benchmarks.traffic import Settings


class RunFailed(Exception):
    """A run that took too long, lost events or crashed: it has no figure."""


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
