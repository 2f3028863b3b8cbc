"""What processes spend: processor time, which says much the same on a machine that does other things too."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.traffic import Settings
from kaufmann_celery.local import LocalStack, temporary_stack
from kaufmann_celery.local.guard import TEMPORARY

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Spending:
    """The seconds of processor time that groups of processes use from now on."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups
        self._before = self._now()

    def so_far(self) -> dict[str, float]:
        """Return each group's seconds."""
        return {name: now - self._before[name] for name, now in self._now().items()}

    def _now(self) -> dict[str, float]:
        return {name: sum(map(_spent_s, pids)) for name, pids in self._groups.items()}


def children(pid: int) -> list[int]:
    """Return the processes that *pid* has started."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(one) for one in found.split()]


@contextmanager
def known_stack() -> Iterator[tuple[Settings, Mapping[str, int]]]:
    """Run a stack that is gone with this process; yields its settings, and its services' process ids by name."""
    with tempfile.TemporaryDirectory(prefix="kaufmann-", ignore_cleanup_errors=True) as directory:
        # Deleted by the stack's guard where this process is killed.
        (Path(directory) / TEMPORARY).touch()
        with temporary_stack(directory=directory) as settings:
            yield settings, {one.name: one.pid for one in LocalStack(directory).status() if one.pid}


def _spent_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
