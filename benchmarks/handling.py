"""What the handler of every contestant does: nothing, sleep, burn processor time; one in two may fail.

It counts what it has handled in a file of each process, where `watching` reads it: 0.2 us an event, for all alike.
"""

from __future__ import annotations

import mmap
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_BYTES = 8
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Handler:
    """How long a handler takes, in how many processes or threads it runs, and how long a run should last."""

    name: str
    sleep_ms: int = 0
    cpu_ms: int = 0
    processes: int = 2
    run_s: float = 8.0

    @property
    def most_per_s(self) -> float:
        """Events a second that processes could handle which did nothing else."""
        took_ms = self.sleep_ms + self.cpu_ms
        return self.processes * 1000 / took_ms if took_ms else float("inf")

    @property
    def environ(self) -> Mapping[str, str]:
        """What tells the handler's process."""
        return {"BENCH_SLEEP_MS": str(self.sleep_ms), "BENCH_CPU_MS": str(self.cpu_ms)}


HANDLERS = {
    one.name: one
    for one in (
        Handler("0 ms"),
        Handler("1 ms", sleep_ms=1),
        Handler("10 ms", sleep_ms=10, processes=8),
        # Long enough that its last events, for which not all processes are needed, count for little.
        Handler("100 ms", sleep_ms=100, processes=8, run_s=20.0),
        Handler("5 ms CPU", cpu_ms=5),
    )
}


class Refused(Exception):
    """An event whose handler fails."""


def handle(order_id: str) -> None:
    """Do what the environment asks for. Called in the contestant's processes, also by several threads."""
    if _SLEEP_S:
        time.sleep(_SLEEP_S)
    elif _CPU_S:
        end = time.thread_time() + _CPU_S
        while time.thread_time() < end:
            pass
    if _COUNTS:
        with _LOCK:
            _count()[0] += 1
    if _FAILING and order_id[-1] in "13579":
        raise Refused(order_id)


def handled(directory: Path) -> int:
    """Return how many events the processes have handled that count in *directory*."""
    return sum(int.from_bytes(file.read_bytes(), "little") for file in directory.iterdir())


@cache
def _count() -> memoryview:
    """Return this process' own number, in a file: made at its first event, after Celery has forked."""
    file = Path(_COUNTS) / str(os.getpid())
    file.write_bytes(bytes(_BYTES))
    with file.open("r+b") as opened:
        return memoryview(mmap.mmap(opened.fileno(), _BYTES)).cast("Q")


_SLEEP_S = int(os.environ.get("BENCH_SLEEP_MS", "0")) / 1000
_CPU_S = int(os.environ.get("BENCH_CPU_MS", "0")) / 1000
_FAILING = bool(os.environ.get("BENCH_FAILING"))
#: A directory; empty where nothing is to be counted.
_COUNTS = os.environ.get("BENCH_COUNTS", "")
