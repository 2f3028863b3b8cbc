"""Tracebacks without the frames of others that lead to where it is interesting: they tell nothing, and take time."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType, TracebackType

import celery

import kaufmann_celery


def directory_of(package: ModuleType) -> str:
    """Return where the code of *package* is, as frames begin their file names."""
    return f"{Path(str(package.__file__)).parent}{os.sep}"


_CELERY, _PACKAGE = directory_of(celery), directory_of(kaufmann_celery)


def after(directories: tuple[str, ...], trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without its first frames, as far as their code is in *directories*; None where all of it is."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(directories):
        trace = trace.tb_next
    return trace


def from_the_handler_on(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames of this package that lead to the service's; whole where none are."""
    return after((_PACKAGE,), trace) or trace


def from_the_task_on(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames of Celery that lead to the task; whole where it did not come to that."""
    return after((_CELERY,), trace) or trace
