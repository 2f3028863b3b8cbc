"""A service on the real stack: its ingester and its worker as processes of their own, with their logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Role = Literal["ingester", "worker"]
ROLES: tuple[Role, ...] = ("ingester", "worker")
#: Seconds that anything here may take before a test gives up on it.
DEADLINE_S = 30.0

_SCRIPTS = Path(sys.executable).parent


def unique(name: str) -> str:
    """Return *name* with an ending that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


def eventually(
    condition: Callable[[], object],
    what: str,
    timeout_s: float = DEADLINE_S,
    gives_up: Callable[[], bool] = lambda: False,
) -> None:
    """Wait until *condition* holds; fail with *what* once the deadline has passed, or waiting is in vain."""
    deadline, tick = time.monotonic() + timeout_s, threading.Event()
    while not condition():
        if time.monotonic() >= deadline or gives_up():
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}")
        tick.wait(0.05)


@dataclass
class Service:
    """A service module in *directory* and the processes that run it."""

    name: str
    directory: Path
    env: Mapping[str, str]
    #: The ingester's log level, by the name that logging gives it.
    loglevel: str = "INFO"
    _running: dict[Role, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, *roles: Role) -> None:
        """Start the processes; does not wait until they are ready."""
        for role in roles or ROLES:
            with self.log_file(role).open("ab") as log:
                self._running[role] = subprocess.Popen(
                    self._command(role),
                    cwd=self.directory,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )

    def stop(self, *roles: Role) -> None:
        """End them by SIGTERM, or after 15 s by SIGKILL."""
        stopping = [(role, process) for role in roles or ROLES if (process := self._running.pop(role, None))]
        for _, process in stopping:
            process.terminate()
        for _, process in stopping:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                # Its own session: the worker's children go with it.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _command(self, role: Role) -> list[str]:
        if role == "ingester":
            return [str(_SCRIPTS / "kaufmann"), "-A", "service", "ingester", "-l", self.loglevel]
        worker = [str(_SCRIPTS / "celery"), "-A", "service", "worker", "-c", "2", "-l", "INFO", "-E"]
        return [*worker, "-n", f"{self.name}@%h"]

    def is_alive(self, role: Role) -> bool:
        """Return whether the process that was started runs still."""
        process = self._running.get(role)
        return process is not None and process.poll() is None

    def has_died(self, *roles: Role) -> bool:
        """Return whether a process ended that nobody stopped."""
        return any(self._running[role].poll() is not None for role in roles or ROLES if role in self._running)

    def pid(self, role: Role) -> int:
        """Return the process id."""
        return self._running[role].pid

    def log_file(self, role: Role) -> Path:
        """Return where the process' output goes."""
        return self.directory / f"{role}.log"

    def log(self, role: Role) -> str:
        """Return what the process has written so far."""
        file = self.log_file(role)
        return file.read_text(errors="replace") if file.exists() else ""

    def tails(self) -> str:
        """Return the end of each log, for a failing test's message."""
        return "\n".join(f"--- {role}, alive: {self.is_alive(role)}\n{self.log(role)[-4000:]}" for role in ROLES)

    def runs(self) -> list[str]:
        """Return what handlers noted in the file `runs`, one line each time."""
        file = self.directory / "runs"
        return file.read_text().splitlines() if file.exists() else []


@contextmanager
def service(
    directory: Path, stack: Mapping[str, str], source: str, *, name: str, settings: Mapping[str, str], **modules: str
) -> Iterator[Service]:
    """Write *source* as the module `service`, and *modules*, into *directory*; stop what was started at the end."""
    for module, text in {"service": source, **modules}.items():
        (directory / f"{module}.py").write_text(textwrap.dedent(text))
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("KAUFMANN_", "CELERY_"))}
    own = {f"KAUFMANN_{key.upper()}": value for key, value in settings.items()}
    env = inherited | dict(stack) | own | {"PYTHONPATH": str(directory), "PYTHONUNBUFFERED": "1"}
    running = Service(name, directory, env)
    try:
        yield running
    finally:
        print(running.tails())  # pytest shows it where a test failed
        running.stop()
