"""Starts services side by side and waits until each answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import pidfiles, process
from kaufmann_celery.local.maven import Progress
from kaufmann_celery.local.process import ProcessRecord
from kaufmann_celery.local.services import Service

_TIMEOUT_S = 120.0
_POLL_S = 0.05
_SHOWN_LOG_LINES = 20


@dataclass(frozen=True)
class Start:
    """One service to start, or only to wait for when it is not *needed*: it runs, but may not answer yet."""

    service: Service
    ports: Mapping[str, int]
    pid_file: Path
    owner: str | None
    needed: bool


def start_together(starts: Sequence[Start], progress: Progress) -> None:
    """Start these services and return when all answer; the first failure cancels the others and is raised.

    What was launched before a failure still runs then: the caller stops it.
    """
    cancelled = threading.Event()

    def report(line: str) -> None:
        if cancelled.is_set():
            raise LocalStackError("Cancelled: another service did not start")
        progress(line)

    with ThreadPoolExecutor(len(starts) or 1) as pool:
        pending = [pool.submit(_start, one, report, cancelled) for one in starts]
        try:
            for one in as_completed(pending):
                one.result()
        except BaseException:
            cancelled.set()
            raise


def _start(start: Start, progress: Progress, cancelled: threading.Event) -> None:
    if start.needed:
        _launch(start, progress)
    launched = time.monotonic()
    _wait_until_ready(start, launched + _TIMEOUT_S, cancelled)
    if start.needed:
        progress(f"{start.service.name} ready in {time.monotonic() - launched:.1f} s")


def _launch(start: Start, progress: Progress) -> None:
    service = start.service
    launch = service.prepare(start.ports, progress)
    if service.log.exists():
        service.log.replace(service.log.with_suffix(".log.1"))
    progress(f"{service.name}: starting")
    pid = process.launch(
        launch.command,
        directory=service.directory,
        log=service.log,
        env=launch.env,
        pid_file=pidfiles.launched_path(start.pid_file),
    )
    pidfiles.record_start(start.pid_file, pid, start.owner)


def _wait_until_ready(start: Start, deadline: float, cancelled: threading.Event) -> None:
    while not cancelled.wait(_POLL_S):
        answers = start.service.ready(start.ports)
        record = ProcessRecord.read(start.pid_file)
        # Asked second: had it died, another program on its port could have answered.
        if record is None or not record.alive:
            raise LocalStackError(f"{start.service.name} died at start. {_log_tail(start.service.log)}")
        if answers:
            return
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"{start.service.name} is not ready after {_TIMEOUT_S:.0f} s. {_log_tail(start.service.log)}"
            )


def _log_tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return f"The end of {log}:\n" + "\n".join(lines[-_SHOWN_LOG_LINES:] or ["(it is empty)"])
