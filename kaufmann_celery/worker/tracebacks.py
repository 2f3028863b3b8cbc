"""Failures in the worker's log, each with its traceback. What is the same in those of one place is formatted once.

A traceback takes Python longer than all else that a failed event costs here, and a service may fail often.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

#: Where the code of this package is.
_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"
#: Stacks whose text is kept; when there are more, none is.
_MOST = 200

#: Modules that Python leaves out where it prints what was raised; and what it prints more of than a line.
_PLAIN = ("builtins", "__main__")
_OF_MORE_LINES = (BaseExceptionGroup, SyntaxError)

_Place = tuple[tuple[CodeType, int], ...]
_stacks: dict[_Place, str] = {}


def from_the_handler_on(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames here that lead to the service's: they tell nothing, and take time to print."""
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_PACKAGE):
        own = own.tb_next
    return own or trace


def log_failure(
    log: logging.Logger, message: str, *args: object, error: BaseException, said: str, extra: Mapping[str, Any]
) -> None:
    """Log *message* at ERROR with the traceback of *error*, whose text is *said*; as `log.error(…, exc_info=error)`."""
    if log.isEnabledFor(logging.ERROR):
        info = (type(error), error, error.__traceback__)
        record = log.makeRecord(log.name, logging.ERROR, __file__, 0, message, args, info, extra=extra)
        # What a formatter takes in place of its own, where it is there.
        record.exc_text = _text(error, said)
        log.handle(record)


def _text(error: BaseException, said: str) -> str | None:
    """Return what Python prints of *error*, None where that is more than a stack and one line."""
    if error.__context__ is not None or hasattr(error, "__notes__") or isinstance(error, _OF_MORE_LINES):
        return None
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in _PLAIN else f"{kind.__module__}.{kind.__qualname__}"
    return f"{_stack(error.__traceback__)}{name}: {said}" if said else f"{_stack(error.__traceback__)}{name}"


def _stack(trace: TracebackType | None) -> str:
    place = _place(trace)
    if place not in _stacks:
        if len(_stacks) >= _MOST:
            _stacks.clear()
        _stacks[place] = "".join(["Traceback (most recent call last):\n", *traceback.format_tb(trace)])
    return _stacks[place]


def _place(trace: TracebackType | None) -> _Place:
    frames: list[tuple[CodeType, int]] = []
    while trace is not None:
        frames.append((trace.tb_frame.f_code, trace.tb_lasti))
        trace = trace.tb_next
    return tuple(frames)
