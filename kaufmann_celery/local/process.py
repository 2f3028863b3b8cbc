"""Processes that outlive their starter, known by pid and start time: a reused pid is never taken for them."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_POLL_S = 0.02
# In the background of a shell that ends at once, a process is nobody's child but init's: its starter never
# has to wait for it, and an `os.wait()` in the starter never returns it. The shell writes the pid itself,
# so that it is on disk even when the starter is killed between two lines.
_LAUNCHER = 'log=$1 pid=$2; shift 2; "$@" </dev/null >>"$log" 2>&1 & echo "$!" >"$pid"'


@dataclass(frozen=True)
class ProcessRecord:
    """What a pid file says: which process, and whose end it shares (`None`: it stays until stopped)."""

    pid: int
    started: str
    owner: str | None = None

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return start_time(self.pid) == self.started

    def write(self, path: Path) -> None:
        """Store it, replacing what was there in one step."""
        replace_text(path, json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> ProcessRecord | None:
        """Return what *path* holds; `None` when there is no such file or it is not a pid file."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None


def replace_text(path: Path, text: str) -> None:
    """Write *text* so that a reader sees the old file or the new one, never half of it."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    beside.write_text(text)
    beside.replace(path)


def start_time(pid: int) -> str | None:
    """Return when process *pid* started, in the system's own notation; `None` when it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _start_time_from_ps(pid)
    # The command name may hold spaces and brackets: count from its end. State is field 3, the number of
    # threads 20, start time 22. A killed process is a zombie at once, while its threads still hold its ports.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" and int(fields[17]) <= 1 else fields[19]


def _start_time_from_ps(pid: int) -> str | None:
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    listing = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    state, _, started = listing.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


def launch(command: Sequence[str], *, directory: Path, log: Path, env: Mapping[str, str], pid_file: Path) -> int:
    """Start *command* detached, in a session of its own, its output appended to *log*; return its pid.

    The pid is in *pid_file* (plain digits) before this returns, and whatever happens to the caller.
    """
    pid_file.unlink(missing_ok=True)
    subprocess.run(
        ["/bin/sh", "-c", _LAUNCHER, "sh", str(log), str(pid_file), *command],
        cwd=directory,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=True,
    )
    return int(pid_file.read_text())


def end(records: Iterable[ProcessRecord], *, patience_s: float = 15.0) -> None:
    """Ask these processes to end and wait for them; kill those that still run after *patience_s* seconds."""
    left = list(records)
    for sign, wait_s in ((signal.SIGTERM, patience_s), (signal.SIGKILL, 5.0)):
        left = [record for record in left if record.alive]
        for record in left:
            with suppress(ProcessLookupError):
                os.kill(record.pid, sign)
        deadline = time.monotonic() + wait_s
        while any(record.alive for record in left) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def wait_for_end(record: ProcessRecord, *, poll_s: float = 0.5) -> None:
    """Block until the process has ended, however it ends."""
    with suppress(OSError, AttributeError):  # no such process, or a system without pidfd
        watched = os.pidfd_open(record.pid)
        try:
            # Opened first, compared second: from here on the descriptor cannot mean another process.
            if record.alive:
                watch = select.poll()
                watch.register(watched, select.POLLIN)
                watch.poll()
        finally:
            os.close(watched)
    while record.alive:
        time.sleep(poll_s)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file *path*; blocks while another process or thread that lives holds it."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
