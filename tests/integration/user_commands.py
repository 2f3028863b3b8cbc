"""What a user types in a service's directory, `celery -A service worker` and the rest: run, or kept running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.scene import GOOD, Scene, avro
from tests.integration.service_process import DEADLINE_S, unique

INGESTER = ("kaufmann", "-A", "service", "ingester")
WORKER = ("celery", "-A", "service", "worker")
#: What `celery inspect` and `celery control` need to return as soon as the plain worker has answered.
ONE_WORKER = ("-t", "20", "-d", f"celery@{socket.gethostname()}")


@dataclass
class Commands:
    """Starts commands in *directory*; what they write goes to `<label>.log` there."""

    directory: Path
    env: Mapping[str, str]
    #: Where the commands are installed.
    scripts: Path = field(default_factory=lambda: Path(sys.executable).parent)
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, label: str, *command: str, **env: str) -> None:
        """Start a command; does not wait until it is ready."""
        with (self.directory / f"{label}.log").open("ab") as log:
            self._running[label] = subprocess.Popen(
                self._line(command),
                cwd=self.directory,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def start_service(self, *worker_flags: str) -> None:
        """Start the plain ingester, and the worker with nothing but *worker_flags*."""
        self.start("worker", *WORKER, *worker_flags)
        self.start("ingester", *INGESTER)

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, which must come within the deadline."""
        return subprocess.run(
            self._line(command),
            cwd=self.directory,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def stop(self, *labels: str) -> None:
        """End these, or all, by SIGTERM; after 15 s by SIGKILL."""
        stopping = [process for label in labels or (*self._running,) if (process := self._running.pop(label, None))]
        for process in stopping:
            process.terminate()
        for process in stopping:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                # Its own session: a worker's children go with it.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def send_signal(self, label: str, number: int) -> None:
        """Send a signal to the process alone, not to its children."""
        self._running[label].send_signal(number)

    def kill(self, label: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to the process alone, not to its children, and wait until it has ended."""
        process = self._running.pop(label)
        process.send_signal(number)
        process.wait(DEADLINE_S)

    def signal(self, label: str, number: int = signal.SIGTERM) -> None:
        """Send a signal to the process alone; `exit_code` waits for its end."""
        self._running[label].send_signal(number)

    @contextmanager
    def frozen(self, label: str) -> Iterator[None]:
        """Have the process, but not its children, stand still for the length of the block."""
        os.kill(self.pid(label), signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid(label), signal.SIGCONT)

    def exit_code(self, label: str, timeout_s: float = DEADLINE_S) -> int:
        """Wait until a command has ended by itself, and return its exit code."""
        return self._running.pop(label).wait(timeout_s)

    def has_died(self) -> bool:
        """Return whether a command ended that nobody stopped."""
        return any(process.poll() is not None for process in self._running.values())

    def pid(self, label: str) -> int:
        """Return the process id of a command that runs."""
        return self._running[label].pid

    def log(self, label: str) -> str:
        """Return what a command has written so far."""
        file = self.directory / f"{label}.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def tails(self) -> str:
        """Return the end of each log, for a failing test's message."""
        logs = sorted(self.directory.glob("*.log"))
        return "\n".join(f"--- {file.stem}\n{file.read_text(errors='replace')[-4000:]}" for file in logs)

    def notes(self) -> list[str]:
        """Return what handlers noted in the file `runs`, one line each time."""
        file = self.directory / "runs"
        return file.read_text().splitlines() if file.exists() else []

    def _line(self, command: tuple[str, ...]) -> list[str]:
        return [str(self.scripts / command[0]), *command[1:]]


@contextmanager
def commands(scene: Scene) -> Iterator[Commands]:
    """Run a scene's service by commands; stop what runs still at the end."""
    typed = Commands(scene.service.directory, scene.service.env)
    scene.kafka.gives_up = typed.has_died
    try:
        yield typed
    finally:
        typed.stop()


def send_good(scene: Scene, count: int) -> list[str]:
    """Write *count* good events, over both partitions; return their ids."""
    ids = [unique("good") for _ in range(count)]
    for at, one in enumerate(ids):
        scene.send(b"good.sent", avro(GOOD, {"id": one}), partition=at % 2)
    return ids
