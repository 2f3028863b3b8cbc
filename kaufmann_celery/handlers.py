"""Which handler an event goes to: exact names first, then the glob with the longest literal part. Pure."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any

from kaufmann_celery.errors import ConfigError
from kaufmann_celery.tasks.retries import RetryPolicy

#: Names come off the wire: no more than this many answers are remembered.
_MOST_REMEMBERED = 10_000

ERROR_PREFIX = "event.error."

#: A rate limit as Celery reads it.
_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a handler runs; Celery's names."""

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    #: Seconds after which `SoftTimeLimitExceeded` is raised in the handler; None = no limit.
    soft_time_limit: float | None = None
    #: Seconds after which the process that runs the handler is ended, a failure like another; None = no limit.
    time_limit: float | None = None
    #: Celery's form, `10/s`; None = no limit. Applies to each worker.
    rate_limit: str | None = None
    #: Celery's queue; None = the service's own.
    queue: str | None = None
    #: In place of the setting `ordering_key`, and like it of no effect but with `ordering="key"`; None = as that says.
    ordering_key: str | Callable[..., Any] | None = None
    #: Most events in one task; None = as many as pay; 1 where a limit above is set.
    batch: int | None = None

    @property
    def most_in_task(self) -> int | None:
        """Events in one task at most; 1 where Celery's limits apply, for they apply to the task."""
        limited = self.rate_limit is not None or self.time_limit is not None or self.soft_time_limit is not None
        return 1 if limited else self.batch

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the values, `batch must be a whole number from 1 on`."""
        for name, whole, least in (("max_retries", self.retry.max_retries, 0), ("batch", self.batch, 1)):
            if whole is not None and not (isinstance(whole, int) and whole >= least):
                yield f"{name} must be a whole number from {least} on"
        for name, seconds in (
            ("retry_backoff", self.retry.retry_backoff), ("retry_backoff_max", self.retry.retry_backoff_max),
            ("soft_time_limit", self.soft_time_limit), ("time_limit", self.time_limit),
        ):  # fmt: skip
            if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):
                yield f"{name} must be a number of seconds"
        if self.rate_limit is not None and not _RATE.fullmatch(str(self.rate_limit)):
            yield "rate_limit must be as Celery has it, such as 10/s, 10/m or 10/h"
        queue: object = self.queue
        if queue is not None and not isinstance(queue, str):
            yield "queue must be text"
        for name, kinds in (
            ("autoretry_for", self.retry.autoretry_for), ("dont_autoretry_for", self.retry.dont_autoretry_for),
        ):  # fmt: skip
            if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
                yield f"{name} must be a list of exceptions, such as [TimeoutError]"


@dataclass(frozen=True, slots=True)
class Handler:
    """A function and the name or glob it was registered for."""

    pattern: str
    function: Callable[..., Any] = field(repr=False)
    options: Options = field(default_factory=Options)

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with its options, and whether it can be called with an event at all."""
        yield from self.options.faults()
        try:
            signature = inspect.signature(self.function)
        except ValueError:
            return  # one of C that does not say
        try:
            signature.bind(None)
        except TypeError as error:
            yield f"{self.function.__name__} cannot be called with an event alone: {error}"

    @property
    def task_name(self) -> str:
        """The Celery task's name."""
        return f"event:{self.pattern}"

    @property
    def is_glob(self) -> bool:
        """Return whether it catches what no exact name does."""
        return is_glob(self.pattern)

    @property
    def function_name(self) -> str:
        """The function as Python names it, `service.confirm`."""
        name = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        return f"{self.function.__module__}.{name}"

    @property
    def source(self) -> str:
        """Where the function is defined, `service.py:12`."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(self.function)


def check_names(names: Sequence[object], decorator: str) -> None:
    """Raise `TypeError` where *names* are none: a decorator without its brackets is given the function."""
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f'{decorator} takes names of events: @kaufmann.{decorator}("order.placed")')


def is_glob(pattern: str) -> bool:
    """Return whether *pattern* holds any of `*`, `?`, `[`."""
    return any(sign in pattern for sign in "*?[")


class Handlers:
    """All handlers of a service."""

    def __init__(self) -> None:
        self._exact: dict[str, Handler] = {}
        self._globs: list[tuple[re.Pattern[str], Handler]] = []
        self._twice: list[str] = []
        self._remembered: dict[str, Handler | None] = {}

    def add(self, handler: Handler) -> bool:
        """Register; return whether its name is new. A name registered twice is found by `check`."""
        first = next((one for one in self if one.pattern == handler.pattern), None)
        if first is not None:
            self._twice.append(f"{handler.pattern} is registered twice: at {first.source} and at {handler.source}")
        elif handler.is_glob:
            self._globs.append((re.compile(translate(handler.pattern)), handler))
            self._globs.sort(key=lambda pair: -_literal_length(pair[1].pattern))
        else:
            self._exact[handler.pattern] = handler
        self._remembered.clear()
        return first is None

    def match(self, name: str) -> Handler | None:
        """Return the handler for an event of *name*; None where no handler wants it."""
        try:
            return self._remembered[name]
        except KeyError:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[name] = self._find(name)
            return found

    def check(self) -> None:
        """Raise `ConfigError` where a name was registered twice, or something is wrong with a handler."""
        wrong = [f"{one.pattern}: {fault} (at {one.source})" for one in self for fault in one.faults()]
        if faults := [*self._twice, *wrong]:
            raise ConfigError("\n".join(faults))

    def __iter__(self) -> Iterator[Handler]:
        yield from self._exact.values()
        yield from (handler for _, handler in self._globs)

    def __len__(self) -> int:
        return len(self._exact) + len(self._globs)

    def _find(self, name: str) -> Handler | None:
        if name in self._exact:
            return self._exact[name]
        if name.startswith(ERROR_PREFIX):
            return next(
                (one for glob, one in self._globs if one.pattern.startswith(ERROR_PREFIX) and glob.match(name)),
                None,
            )
        return next((handler for glob, handler in self._globs if glob.match(name)), None)


def every_event() -> Handlers:
    """Return handlers that want events of every name, for who reads and does not handle."""
    handlers = Handlers()
    for pattern in ("*", f"{ERROR_PREFIX}*"):
        handlers.add(Handler(pattern, print))
    return handlers


def _literal_length(pattern: str) -> int:
    return len(re.sub(r"\[[^]]*\]|[*?]", "", pattern))
