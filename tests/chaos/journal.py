"""The handlers' own journal: a line when a run begins and one when it ends, each appended by one write.

A run that its process did not survive has no line for its end. Imports nothing of the package under test.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a handler. Times are the machine's wall clock, in seconds."""

    run: str
    partition: int
    offset: int
    attempt: int
    pid: int
    #: The worker's main process.
    parent: int
    #: The Celery task it came in.
    task: str
    started: float
    ended: float | None = None
    #: `ok`, `retry` (the handler failed and is to run again) or `failed`; None where it never ended.
    status: str | None = None
    #: It killed its own process, and when it was about to.
    dies: bool = False
    died: float | None = None


@dataclass
class Journal:
    """What a worker's process writes. The file is opened in the process that uses it."""

    path: str
    _files: dict[int, int] = field(default_factory=dict)

    def start(self, partition: int, offset: int, attempt: int, task: str) -> str:
        """Note that a run begins; return its name."""
        run = uuid.uuid4().hex[:16]
        self._write("S", run, partition, offset, attempt, os.getpid(), os.getppid(), task)
        return run

    def end(self, run: str, status: str) -> None:
        """Note that a run ended."""
        self._write("E", run, status)

    def dies(self, run: str) -> None:
        """Note that a run is about to kill its process."""
        self._write("D", run)

    def _write(self, *words: object) -> None:
        pid = os.getpid()
        if pid not in self._files:
            self._files[pid] = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        line = " ".join(map(str, (*words, time.time_ns(), time.monotonic_ns()))) + "\n"
        os.write(self._files[pid], line.encode())


def read(lines: Iterable[str]) -> tuple[list[Run], float]:
    """Return the runs, and by how many seconds the wall clock was set while they ran."""
    runs: dict[str, Run] = {}
    shifts: list[float] = []
    for line in lines:
        kind, run, *words, wall, mono = line.split()
        at = int(wall) / 1e9
        shifts.append((int(wall) - int(mono)) / 1e9)
        if kind == "S":
            partition, offset, attempt, pid, parent = map(int, words[:5])
            runs[run] = Run(run, partition, offset, attempt, pid, parent, words[5], at)
        elif kind == "E":
            runs[run] = replace(runs[run], ended=at, status=words[0])
        else:
            runs[run] = replace(runs[run], dies=True, died=at)
    return list(runs.values()), max(shifts, default=0.0) - min(shifts, default=0.0)
