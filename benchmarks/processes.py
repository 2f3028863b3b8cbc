"""The processes of a run: Celery's worker, and functions of Python modules; all are gone when their block ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from celery.signals import worker_ready

from benchmarks.scene import RunFailed

_READY = "the worker is ready"


@contextmanager
def worker(module: str, environ: Mapping[str, str], processes: int = 2, name: str = "bench") -> Iterator[int]:
    """Run a Celery worker of a *name* of its own; yields its process id once it is ready.

    Its level of logging is Celery's own, `WARNING`: at `INFO` it would write two lines for every task. So *module*
    has to call `say_when_ready`.
    """
    options = ["-c", str(processes), "-n", f"{name}@%h"]
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", module, "worker", *options],
        env={**os.environ, **environ},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if _READY in line:
            break
    else:
        raise RunFailed(f"the worker ended with {process.wait()}")
    drain = subprocess.Popen(["cat"], stdin=process.stderr, stdout=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        _end(process)
        drain.wait()


def say_when_ready() -> None:
    """Have the Celery worker that imports this write a line when it takes tasks."""
    worker_ready.connect(lambda **_: print(_READY, file=sys.__stderr__, flush=True), weak=False)


@contextmanager
def modules(
    module: str, environ: Mapping[str, str], processes: int = 1, *, function: str = "main", stdout: int | None = None
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run *function* of *module* in several processes."""
    # Libraries warn of each other's versions.
    command = [sys.executable, "-W", "ignore", "-c", f"from {module} import {function}; {function}()"]
    env = {**os.environ, **environ}
    running = [subprocess.Popen(command, env=env, stdout=stdout, start_new_session=True) for _ in range(processes)]
    try:
        yield running
    finally:
        for process in running:
            _end(process)


def unwind_at_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does: with all that it has started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """End *process* and what it has started, at once: whatever it was to do is measured by now."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
