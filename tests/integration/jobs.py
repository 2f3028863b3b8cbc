"""A service whose events say what their handler is to do, any number of its processes, and a journal of every run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaufmann_celery.event import Position
from kaufmann_celery.partitions.commit_metadata import Committed, parse
from tests.integration.scene import Scene, avro, scene
from tests.integration.service_process import eventually, unique
from tests.integration.user_commands import INGESTER, WORKER, Commands, commands

#: Seconds for Kafka's clients and groups to recover, on a machine that does other things too.
RECOVERY_S = 120.0

JOB = {
    "type": "record",
    "name": "job",
    "fields": [{"name": "id", "type": "string"}, {"name": "act", "type": "string"}],
}
SERVICE = """
import ctypes, os, resource, signal, time
from pathlib import Path
from celery import current_task
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


def note(word, event):
    with open(os.environ.get("RUNS", "runs"), "a") as runs:
        runs.write(f"{word} {event.payload['id']} {event.attempt} {current_task.request.id} {time.monotonic()}\\n")


@kaufmann.on("job.asked")
def ask(event):
    note("begin", event)
    match event.payload["act"].split():
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case ["until", file]:
            while not Path(file).exists():
                time.sleep(0.02)
        case ["exit"]:
            os._exit(1)
        case ["segfault"]:
            ctypes.string_at(0)
        case ["memory"]:
            # What a container's limit does: no more is given, and the process cannot go on.
            resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))
            try:
                bytearray(2**30)
            except MemoryError:
                os.abort()
        case ["signal", name, *times] if not times or event.attempt <= int(times[0]):
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(60)
        case ["fail"]:
            raise ValueError("as asked")
    note("end", event)
    return Output("job.done", {"id": event.payload["id"]}, format="json")
"""


@dataclass(frozen=True)
class Run:
    """One line of the journal."""

    #: `begin` or `end`.
    word: str
    id: str
    attempt: int
    #: The Celery task; `+` is in it where events shared it.
    task: str
    #: Monotonic seconds of this machine.
    at: float


@dataclass
class Jobs:
    """A scene and its processes: `ingester`, `ingester-2`, `worker` …"""

    scene: Scene
    typed: Commands
    positions: dict[str, Position] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The topic's and the group's name."""
        return self.scene.name

    def ingester(self, label: str = "ingester", *flags: str, **env: str) -> None:
        """Start an ingester; does not wait until it is ready."""
        self.typed.start(label, *INGESTER, *flags, **env)

    def worker(self, label: str = "worker", processes: int = 2, **env: str) -> None:
        """Start a worker; does not wait until it is ready."""
        self.typed.start(label, *WORKER, "-c", str(processes), "-n", f"{label}@{self.name}", **env)

    def ask(self, count: int = 1, act: str = "", *, name: str = "job.asked", partition: int | None = None) -> list[str]:
        """Write jobs, over both partitions unless one is given; return their ids."""
        ids = [unique("job") for _ in range(count)]
        for number, one in enumerate(ids):
            where = number % 2 if partition is None else partition
            value = avro(JOB, {"id": one, "act": act})
            self.positions[one] = self.scene.send(name.encode(), value, partition=where)
        return ids

    def runs(self, word: str = "begin", journal: str = "runs") -> list[Run]:
        """Return what handlers noted so far; a line that is being written is left out."""
        file = self.typed.directory / journal
        lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [
            Run(one, job, int(attempt), task, float(at))
            for one, job, attempt, task, at in (line for line in lines if len(line) == 5)
            if one == word
        ]

    def ran(self, *ids: str, word: str = "begin") -> Counter[str]:
        """Count the runs of each of *ids*."""
        found = Counter(run.id for run in self.runs(word))
        return Counter({one: found[one] for one in ids})

    def await_runs(self, ids: list[str], count: int = 1, timeout_s: float = RECOVERY_S) -> None:
        """Wait until so many of *ids* have begun to run."""
        eventually(
            lambda: sum(1 for runs in self.ran(*ids).values() if runs) >= count,
            f"{count} of {len(ids)} jobs run", timeout_s, self.scene.kafka.gives_up,
        )  # fmt: skip

    def done(self, *ids: str, timeout_s: float = RECOVERY_S, may_repeat: bool = False) -> None:
        """Wait until each of *ids* is answered and all is committed; none was answered twice, or in two ways."""
        self.scene.handled(*ids, name="job.done", timeout_s=timeout_s, may_repeat=may_repeat)
        self.scene.kafka.await_all_committed(self.name, self.name, timeout_s)

    def ran_once(self, *ids: str) -> None:
        """Check that each of *ids* ran exactly once, to its end."""
        assert {one: runs for one, runs in self.ran(*ids).items() if runs != 1} == {}
        assert {one: runs for one, runs in self.ran(*ids, word="end").items() if runs != 1} == {}

    def commit(self, partition: int = 0) -> Committed | None:
        """Return what the group has committed, read as an ingester does; None without."""
        found = self.scene.kafka.commits(self.name)
        kept = next((kept for where, kept in found.items() if where == (self.name, partition)), None)
        return None if kept is None else parse(kept.offset, kept.metadata)


@contextmanager
def jobs(
    directory: Path,
    stack: Mapping[str, str],
    source: str = SERVICE,
    *,
    name: str = "jobs",
    schemas: Mapping[str, Any] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Jobs]:
    """Make a service of *source*; start nothing yet, and stop at the end what was started."""
    schemas = {"job.asked": JOB, **(schemas or {})}
    with (
        scene(directory, stack, source, name=name, schemas=schemas, settings=settings) as one,
        commands(one) as typed,
    ):
        try:
            yield Jobs(one, typed)
        finally:
            print(typed.tails())  # pytest shows it where a test failed
