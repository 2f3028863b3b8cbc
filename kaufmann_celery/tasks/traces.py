"""Tracebacks without the frames of others that lead to where it is interesting: they tell nothing, and take time."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import celery

import kaufmann_celery

_CELERY, _PACKAGE = (f"{Path(file).parent}{os.sep}" for file in (celery.__file__, kaufmann_celery.__file__))


def from_the_handler_on(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames of this package that lead to the service's; whole where none are."""
    return _after(_PACKAGE, trace)


def from_the_task_on(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames of Celery that lead to the task; whole where it did not come to that."""
    return _after(_CELERY, trace)


def _after(directory: str, trace: TracebackType | None) -> TracebackType | None:
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.startswith(directory):
        own = own.tb_next
    return own or trace
