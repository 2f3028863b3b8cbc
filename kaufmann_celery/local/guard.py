"""Ends a stack when the process it belongs to ends, even when that process was killed.

Runs as a small process of its own, with the standard library alone.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

from kaufmann_celery.local import pidfiles, process

TEMPORARY = "temporary"
_PACKAGE = Path(__file__).parents[1]
# Importing the package would load all of it, for the guard's whole life: give Python the two packages
# without their __init__.
_BOOT = """
import sys, types
for name, path in ("kaufmann_celery", sys.argv[1]), ("kaufmann_celery.local", sys.argv[1] + "/local"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from kaufmann_celery.local.guard import main
main(*sys.argv[2:])
"""


def owner_key(record: process.ProcessRecord) -> str:
    """Return how pid files name their owner."""
    return f"{record.pid}:{record.started}"


def start(directory: Path, owner: process.ProcessRecord) -> None:
    """Watch *owner* from now on; does nothing when a guard already does."""
    path = pidfiles.guard_path(directory, owner.pid)
    running = process.ProcessRecord.read(path)
    if running and running.alive and running.owner == owner_key(owner):
        return
    command = [sys.executable, "-I", "-S", "-c", _BOOT, str(_PACKAGE)]
    pid = process.launch(
        [*command, str(directory), str(owner.pid), owner.started],
        directory=directory,
        log=directory / "guard.log",
        env=os.environ,
        pid_file=pidfiles.launched_path(path),
    )
    pidfiles.record_start(path, pid, owner_key(owner))


def main(directory: str, owner_pid: str, owner_started: str) -> None:
    """Wait for the owner's end, then stop what belongs to it, and delete the stack if it was temporary."""
    owner = process.ProcessRecord(int(owner_pid), owner_started)
    process.wait_for_end(owner)
    root = Path(directory)
    if not root.exists():
        return
    with process.locked(root / "lock"):
        paths = pidfiles.services(root).values()
        for path in paths:
            pidfiles.adopt(path, owner_key(owner))
        pidfiles.end_services(paths, owner=owner_key(owner))
        pidfiles.forget(pidfiles.guard_path(root, owner.pid))
    if (root / TEMPORARY).exists():
        _delete(root)


def _delete(root: Path) -> None:
    # What the owner had started for a moment, to format data for instance, may still write.
    deadline = time.monotonic() + 30
    while root.exists() and time.monotonic() < deadline:
        shutil.rmtree(root, ignore_errors=True)
        time.sleep(0.1)
