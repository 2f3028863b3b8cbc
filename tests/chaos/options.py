"""What a chaos run is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run. The same seed and numbers give the same events and the same schedule of faults."""

    seed: int
    #: Logs, evidence and the report go here.
    directory: Path
    events: int = 100_000
    faults: int = 60
    delivery: str = "at_least_once"
    ordering: str = "unordered"
    #: Kinds of fault, by name; empty: all.
    kinds: tuple[str, ...] = ()
    partitions: int = 32
    ingesters: int = 3
    workers: int = 3
    #: Of each worker.
    processes: int = 2
    #: Share of the faults that strike only once the fault before can have been made good.
    calm: float = 0.5
    #: Where the processes find another `kaufmann_celery` than this tree's.
    package: Path | None = None

    @property
    def service(self) -> str:
        """The service's name, its group and its topic."""
        return f"chaos-{self.seed}"
