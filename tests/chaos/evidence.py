"""What a run leaves behind, for the checker to judge. Imports nothing of the package under test.

All times are seconds of the machine's wall clock: the handlers', the supervisor's, and the broker's own, at which it
appended a record (the topics' timestamps are the broker's, not the producer's).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.journal import Run

Place = tuple[int, int]
"""Partition and offset of an event."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An event as it stands in the service's topic."""

    partition: int
    offset: int
    kind: str
    key: str | None
    at: float


@dataclass(frozen=True, slots=True)
class Published:
    """An output (index 0 and up) or an error event (index -1), and the event it came of."""

    partition: int
    offset: int
    index: int
    message_id: str
    #: Of key, value and headers.
    digest: str
    error_type: str
    at: float
    #: Where it stands.
    where: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of the group as Kafka keeps it, in the order in which Kafka took it."""

    partition: int
    offset: int
    metadata: str
    at: float


@dataclass(slots=True)
class Life:
    """One process from start to end; *asked* is the signal that was sent to end it, *code* what it ended with."""

    role: str
    slot: str
    pid: int
    began: float
    ended: float | None = None
    asked: str | None = None
    asked_at: float | None = None
    code: str | None = None


@dataclass(slots=True)
class Incident:
    """One fault as it came to pass.

    *killed* and *frozen* are processes, of workers their children too; *lost_from* is since when Redis has forgotten
    what it was told.
    """

    kind: str
    began: float
    ended: float
    target: str = ""
    killed: list[int] = field(default_factory=list)
    frozen: list[int] = field(default_factory=list)
    #: Kafka, Redis or the registry could not be used.
    away: str | None = None
    lost_from: float | None = None
    note: str = ""


@dataclass(slots=True)
class Sample:
    """How many events one ingester had outstanding at one moment: those it claimed, and all it answered for."""

    at: float
    member: str
    own: int
    all: int
    #: Of its own, those that are not sent for the first time.
    again: int = 0
    #: Those it claimed, where they are many.
    places: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Ownership:
    """Since when an ingester answers for a partition."""

    at: float
    partition: int
    member: str


@dataclass(slots=True)
class Setting:
    """What the run was asked to do, as far as the judgement needs it."""

    delivery: str = "at_least_once"
    ordering: str = "unordered"
    max_demand: int = 50
    max_attempts: int = 3
    lease_s: float = 10.0


@dataclass(slots=True)
class Evidence:
    """All of it."""

    setting: Setting = field(default_factory=Setting)
    sent: list[Sent] = field(default_factory=list)
    published: list[Published] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    #: The group's, as the broker wrote them down, each as often as it did.
    generations: list[int] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    owners: list[Ownership] = field(default_factory=list)
    #: From then on all processes were at work.
    began: float = 0.0
    #: By how much the wall clock was set during the run.
    clock_shift_s: float = 0.0
    #: Why the run ended before all was committed; empty where it did not.
    gave_up: str = ""

    def save(self, path: Path) -> None:
        """Write it all as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Evidence:
        """Read what `save` wrote."""
        data: dict[str, Any] = json.loads(path.read_text())
        lists: dict[str, Any] = {
            "sent": Sent, "published": Published, "commits": Commit, "runs": Run, "lives": Life,
            "incidents": Incident, "samples": Sample, "owners": Ownership,
        }  # fmt: skip
        for name, kind in lists.items():
            data[name] = [kind(**one) for one in data[name]]
        for sample in data["samples"]:
            sample.places = tuple((partition, offset) for partition, offset in sample.places)
        data["setting"] = Setting(**data["setting"])
        return cls(**data)
