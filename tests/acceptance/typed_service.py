"""A service in a directory of its own, and the commands that a user types there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds that anything here may take before a test gives up on it.
DEADLINE_S = 60.0

SOURCE = """
import pathlib
import time

from kaufmann_celery import Kaufmann

kaufmann = Kaufmann("NAME", redis_prefix="NAME", commit_interval=0.3)
celery = kaufmann.celery


@kaufmann.on("order.placed")
def confirm(event):
    return ("order.confirmed", {"order_id": event.payload["order_id"]})


@kaufmann.on("order.held")
def hold(event):
    while not pathlib.Path("go").exists():
        time.sleep(0.05)
"""
PLACED = """{"type": "record", "name": "OrderPlaced", "fields": [
    {"name": "order_id", "type": "string"},
    {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}], "default": null},
    {"name": "sum", "default": null,
     "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}]}]}
"""
CONFIRMED = """{"type": "record", "name": "OrderConfirmed", "fields": [
    {"name": "meta", "type": "event_metadata"},
    {"name": "payload", "type": {"type": "record", "name": "Confirmed", "fields": [
        {"name": "order_id", "type": "string"}]}}]}
"""


@dataclass
class TypedService:
    """Runs commands in *directory*; what a started one writes goes to `<label>.log` there."""

    name: str
    directory: Path
    env: Mapping[str, str]
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def kaufmann(self, *arguments: str, given: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `kaufmann -A service …` to its end, with *given* in its pipe."""
        return self.run("kaufmann", "-A", "service", *arguments, given=given, **env)

    def run(self, *command: str, given: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            line(*command),
            cwd=self.directory,
            env={**self.env, **env},
            input=given or "",
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def start(self, label: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a command; does not wait until it is ready."""
        with (self.directory / f"{label}.log").open("wb") as log:
            process = subprocess.Popen(
                line(*command), cwd=self.directory, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        self._running.append(process)
        return process

    def log(self, label: str) -> str:
        """Return what a started command has written so far."""
        return (self.directory / f"{label}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End what runs still, by SIGTERM, or after 15 s by SIGKILL."""
        for process in self._running:
            process.terminate()
        for process in self._running:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def line(program: str, *arguments: str) -> list[str]:
    """Return the command line of a program that is installed beside this Python."""
    return [str(Path(sys.executable).with_name(program)), *arguments]


def written(directory: Path, stack: Mapping[str, str]) -> TypedService:
    """Write a service, with its schemas, under a name that no other test has."""
    name = f"orders-{uuid.uuid4().hex[:8]}"
    (directory / "service.py").write_text(SOURCE.replace("NAME", name))
    schemas = directory / "schemas"
    schemas.mkdir()
    for subject, schema in (("order.placed", PLACED), ("order.held", PLACED), ("order.confirmed", CONFIRMED)):
        (schemas / f"{subject}.avsc").write_text(schema)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("KAUFMANN_", "CELERY_", "APP"))}
    return TypedService(name, directory, {**inherited, **stack, "PYTHONUNBUFFERED": "1"})


def eventually(condition: Callable[[], object], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until *condition* holds; fail with *what* once the deadline has passed."""
    deadline, tick = time.monotonic() + timeout_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        tick.wait(0.1)
