"""Where a stack keeps the pid files of its services and guards, and how it ends what they name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from kaufmann_celery.local.process import ProcessRecord, end, start_time


def service_path(root: Path, name: str) -> Path:
    """Return where the pid file of the service *name* is."""
    return root / name / "process.json"


def guard_path(root: Path, owner_pid: int) -> Path:
    """Return where the pid file of the guard that watches *owner_pid* is."""
    return root / f"guard-{owner_pid}.json"


def services(root: Path) -> dict[str, Path]:
    """Return the pid files of all services started here, also of those whose start was cut short."""
    directories = {path.parent for path in root.glob("*/process.*")}
    return {directory.name: service_path(root, directory.name) for directory in sorted(directories)}


def launched_path(path: Path) -> Path:
    """Return where the launcher writes the bare pid, which stays only until `record_start`."""
    return path.with_suffix(".pid")


def record_start(path: Path, pid: int, owner: str | None) -> ProcessRecord:
    """Turn the bare pid that the launcher left into a pid file."""
    record = ProcessRecord(pid, start_time(pid) or "ended at once", owner)
    record.write(path)
    launched_path(path).unlink(missing_ok=True)
    return record


def forget(path: Path) -> None:
    """Remove a pid file."""
    path.unlink(missing_ok=True)
    launched_path(path).unlink(missing_ok=True)


def adopt(path: Path, owner: str) -> None:
    """Take over a process whose starter was killed before it could write the pid file."""
    bare = launched_path(path)
    if bare.exists() and (digits := bare.read_text().strip()):
        record_start(path, int(digits), owner)


def end_services(paths: Iterable[Path], *, owner: str | None = None) -> list[str]:
    """End these services, all at once, and return the names of those that ran.

    With *owner*, only those that belong to it.
    """
    records = {path: ProcessRecord.read(path) for path in paths}
    mine = {p: record for p, record in records.items() if record and owner in (None, record.owner)}
    running = [path for path, record in mine.items() if record.alive]
    end(mine.values())
    for path in mine:
        forget(path)
    return [path.parent.name for path in running]


def end_guards(root: Path) -> None:
    """End all guards of this stack: nothing is left for them to stop."""
    for path in root.glob("guard-*.json"):
        if record := ProcessRecord.read(path):
            end([record])
        forget(path)
