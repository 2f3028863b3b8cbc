"""Runs ingesters and workers as a Procfile's supervisor would: what ends is started again, and every end is noted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.evidence import Life

#: Seconds between looks, and from the end of a process to the start of the next.
_LOOK_EVERY_S = 0.05
_RESTART_AFTER_S = 0.5
_STOP_WITHIN_S = 20.0
_SCRIPTS = Path(sys.executable).parent


@dataclass
class Slot:
    """A place in the Procfile: one process at a time."""

    role: str
    number: int
    command: list[str]
    #: Whether what ends is started again.
    wanted: bool = True
    process: subprocess.Popen[bytes] | None = None
    life: Life | None = None
    restart_at: float = 0.0

    @property
    def name(self) -> str:
        """`worker-0`."""
        return f"{self.role}-{self.number}"


@dataclass
class Supervisor:
    """Its methods may be called from any thread."""

    directory: Path
    env: Mapping[str, str]
    #: Is told of each process, so that none outlives the run.
    guard: Callable[[str, int], None]
    service: str
    processes: int
    slots: dict[str, Slot] = field(default_factory=dict)
    lives: list[Life] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to look after the slots, in a thread."""
        threading.Thread(target=self._run, name="supervisor", daemon=True).start()

    def add(self, role: str) -> Slot:
        """Add a slot and start its process."""
        with self._lock:
            number = sum(slot.role == role for slot in self.slots.values())
            slot = Slot(role, number, self._command(role, number))
            self.slots[slot.name] = slot
            self._launch(slot)
            return slot

    def of(self, role: str) -> list[Slot]:
        """Return the slots of *role* whose process runs."""
        with self._lock:
            return [slot for slot in self.slots.values() if slot.role == role and slot.wanted and slot.life is not None]

    def signal(self, slot: Slot, number: signal.Signals, *, for_good: bool = False) -> Life | None:
        """Send a signal that ends the process; return what it ends. *for_good*: it is not started again."""
        with self._lock:
            slot.wanted = slot.wanted and not for_good
            if slot.process is None or slot.life is None:
                return None
            slot.life.asked, slot.life.asked_at = number.name, time.time()
            slot.process.send_signal(number)
            return slot.life

    def stop(self) -> None:
        """End all by SIGTERM, and note how that went."""
        with self._lock:
            for slot in self.slots.values():
                self.signal(slot, signal.SIGTERM, for_good=True)
        deadline = time.monotonic() + _STOP_WITHIN_S
        while time.monotonic() < deadline and any(slot.life for slot in self.slots.values()):
            time.sleep(_LOOK_EVERY_S)
        self._stopping.set()
        with self._lock:
            for slot in self.slots.values():
                if slot.process is not None and slot.life is not None:
                    slot.process.kill()
                    slot.process.wait()
                    slot.life.ended, slot.life.code = time.time(), "did not stop"

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            with self._lock:
                for slot in self.slots.values():
                    self._look_at(slot)

    def _look_at(self, slot: Slot) -> None:
        if slot.process is not None and slot.life is not None and (code := slot.process.poll()) is not None:
            slot.life.ended, slot.life.code = time.time(), str(code)
            slot.life, slot.process = None, None
            slot.restart_at = time.monotonic() + _RESTART_AFTER_S
        if slot.life is None and slot.wanted and time.monotonic() >= slot.restart_at:
            self._launch(slot)

    def _launch(self, slot: Slot) -> None:
        with (self.directory / f"{slot.name}.log").open("ab") as log:
            slot.process = subprocess.Popen(
                slot.command,
                cwd=self.directory,
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        slot.life = Life(slot.role, slot.name, slot.process.pid, time.time())
        self.lives.append(slot.life)
        self.guard(slot.name, slot.process.pid)

    def _command(self, role: str, number: int) -> list[str]:
        if role == "ingester":
            return [str(_SCRIPTS / "kaufmann"), "-A", "tests.chaos.service", "ingester"]
        worker = [str(_SCRIPTS / "celery"), "-A", "tests.chaos.service", "worker", "-l", "WARNING"]
        return [*worker, "-c", str(self.processes), "-n", f"{self.service}-{number}@%h"]


def children(pid: int) -> list[int]:
    """Return the processes that *pid* has started and that run."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listing.stdout.splitlines())
    return [int(child) for child, parent, state in rows if int(parent) == pid and not state.startswith("Z")]


def signal_all(pids: list[int], number: signal.Signals) -> None:
    """Send a signal to processes; those that have ended are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
