"""Failures in the worker's log: a line for each event. Those that failed alike, at one place, share a traceback.

That of the first one is Celery's: the task raises it.

To print a traceback takes Python longer than all else that a failed event costs here, and a service may fail often.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from kaufmann_celery.event import Event

log = logging.getLogger(__name__)

#: Errors that led to one another, up to which two failures are compared.
_LONGEST_CHAIN = 20


@dataclass(slots=True)
class _Alike:
    """Failures of one kind: the first one's error, which stands for all, and what is said of each."""

    error: BaseException
    first: Event
    #: Whether it is the kind of the task's first failure, whose traceback Celery prints.
    is_celerys: bool
    lines: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)


class FailureLog:
    """The failures of one task. Thread-safe. They are held back until `write`, which comes before they are reported."""

    def __init__(self) -> None:
        #: The task's first one, which it raises, so that Celery prints its traceback; and how many there were.
        self.first: BaseException | None = None
        self.count = 0
        self._kinds: dict[Hashable, _Alike] = {}
        self._lock = threading.Lock()

    def add(self, event: Event, error: BaseException, said: str) -> None:
        """Note that the handler of *event* raised *error*, whose message is *said*."""
        line = f"{label(event)} failed: {type(error).__name__}"
        with self._lock:
            kind = (event.name, _kind(error))
            alike = self._kinds.get(kind)
            if alike is None:
                alike = self._kinds[kind] = _Alike(error, event, is_celerys=self.first is None)
            if self.first is None:
                self.first = error
            self.count += 1
            alike.lines.append(f"{line}: {said}" if alike.lines and said else line)
            alike.positions.append(str(event.position))

    def write(self) -> None:
        """Log what was noted since the last time."""
        if not self._kinds:
            return
        with self._lock:
            kinds, self._kinds = self._kinds, {}
        for alike in kinds.values():
            log.error(
                "%s", "\n".join(alike.lines), exc_info=None if alike.is_celerys else alike.error,
                extra=facts(alike.first, "failed", error_type=type(alike.error).__name__, positions=alike.positions),
            )  # fmt: skip


def label(event: Event) -> str:
    """Return what names an event in the log."""
    return f"{event.name} {event.id} at {event.position}"


def facts(event: Event, action: str, **more: Any) -> dict[str, Any]:
    """Return the fields of a log record about an event."""
    return {
        "action": action,
        "event": event.name,
        "topic": event.topic,
        "partition": event.partition,
        "offset": event.offset,
        **more,
    }


def _kind(error: BaseException) -> Hashable:
    """Return what is equal for errors whose tracebacks differ in their last lines only.

    Places are known by the ids of their code, which lives as long as the first error of a kind is kept.
    """
    chain: list[tuple[type, tuple[tuple[int, int], ...]]] = []
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, BaseExceptionGroup) or hasattr(one, "__notes__") or len(chain) == _LONGEST_CHAIN:
            return id(error)
        chain.append((type(one), _place(one.__traceback__)))
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return tuple(chain)


def _place(trace: TracebackType | None) -> tuple[tuple[int, int], ...]:
    frames: list[tuple[int, int]] = []
    while trace is not None:
        frames.append((id(trace.tb_frame.f_code), trace.tb_lasti))
        trace = trace.tb_next
    return tuple(frames)
