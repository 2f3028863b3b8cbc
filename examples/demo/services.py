"""The Procfile's processes: ingester, worker and Flower, run by honcho as they are on a developer's machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from kaufmann_celery.local.process import ProcessRecord, end, start_time

ROOT = Path(__file__).parents[2]
SERVICE = ROOT / "examples" / "orders"
BIN = Path(sys.executable).parent


class DemoError(Exception):
    """The demo cannot go on; the message says why, with the last lines of the log."""


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of all that the demo runs: *settings*, and none of the user's own."""
    foreign = ("KAUFMANN_", "CELERY_", "FLOWER_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign) and name != "APP"}
    return {**kept, **settings, "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}", "PYTHONUNBUFFERED": "1"}


def run(command: list[str], env: Mapping[str, str]) -> str:
    """Run *command* beside the example service and return what it printed; raise `DemoError` where it failed."""
    done = subprocess.run(command, cwd=SERVICE, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"`{' '.join(command)}` failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Services:
    """honcho and what it runs. With *leashed* all of it ends with this process, even when that is killed."""

    def __init__(self, env: Mapping[str, str], *, log: Path, leashed: bool) -> None:
        self.log = log
        self.flower_port = _free_port()
        self._env = {
            **env,
            "FLOWER_ADDRESS": "127.0.0.1",
            "FLOWER_PORT": str(self.flower_port),
            "CELERY_WORKER_CONCURRENCY": "2",
        }
        self._honcho = [str(BIN / "honcho"), "-f", str(ROOT / "Procfile"), "start"]
        self._leashed = leashed
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start them; what they print goes to the log."""
        leash = [sys.executable, str(Path(__file__).with_name("leash.py"))] if self._leashed else []
        with self.log.open("wb") as log:
            self._running = subprocess.Popen(
                [*leash, *self._honcho],
                cwd=SERVICE,
                env=self._env,
                stdin=subprocess.PIPE if self._leashed else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise `DemoError` where one of them has ended: honcho then ends the others too."""
        if self._running is None or self._running.poll() is not None:
            raise DemoError(f"a process of the Procfile ended\n{self.tail()}")

    def stop(self) -> None:
        """End them and wait until they have."""
        if self._running is None:
            return
        if self._running.stdin is not None:
            self._running.stdin.close()
        else:
            self._running.terminate()
        self._running.wait()

    def record(self) -> ProcessRecord:
        """Return by what the running honcho is known later."""
        assert self._running is not None
        return ProcessRecord(self._running.pid, start_time(self._running.pid) or "")

    @property
    def flower_url(self) -> str:
        return f"http://127.0.0.1:{self.flower_port}"

    def flower_answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.flower_url}/healthcheck", timeout=1) as response:
                return bool(response.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.exists() else []
        return "\n".join([f"--- the last lines of {self.log}", *text])


def stop_earlier(record_file: Path) -> bool:
    """End the services that an earlier demo left running; return whether there were any."""
    record = ProcessRecord.read(record_file)
    if record is None:
        return False
    end([record])
    record_file.unlink(missing_ok=True)
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
