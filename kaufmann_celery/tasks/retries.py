"""When a failed event runs again: Celery's options, as pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import random

from celery.exceptions import Retry as CeleryRetry

from kaufmann_celery.errors import Retry

#: The longest wait that a handler may ask for, in seconds: Redis counts in whole milliseconds.
_LONGEST_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Celery's names. Without `max_retries` and `autoretry_for` a failure is final, as in KaufmannEx."""

    #: Retries after the first run, 0 = none. None means 3 for what `autoretry_for` names and for a raised `Retry`,
    #: and none for any other failure.
    max_retries: int | None = None
    #: True: exponential from 1 s; a number: the first delay in seconds; False: no delay.
    retry_backoff: bool | float = True
    #: The longest delay, in seconds.
    retry_backoff_max: float = 600.0
    #: Whether a delay is drawn at random between nothing and itself, so that failures do not come back in step.
    retry_jitter: bool = True
    #: Exceptions that are retried; none named means every `Exception` where `max_retries` is set.
    autoretry_for: tuple[type[BaseException], ...] = ()
    #: Exceptions that are final, whatever the others say.
    dont_autoretry_for: tuple[type[BaseException], ...] = ()

    def countdown(self, error: BaseException, failures: int, draw: Callable[[], float] = random) -> float | None:
        """Return the seconds until the next run, None where the failure is final. *failures*: this one included."""
        if not self._applies(error) or failures > self._most():
            return None
        if isinstance(error, Retry) and error.countdown is not None:
            return min(max(0.0, error.countdown), _LONGEST_S)
        if self.retry_backoff is False:
            return 0.0
        first = 1.0 if self.retry_backoff is True else float(self.retry_backoff)
        delay = min(self.retry_backoff_max, first * 2.0 ** min(failures - 1, 62))
        return delay * draw() if self.retry_jitter else delay

    def _most(self) -> int:
        return 3 if self.max_retries is None else self.max_retries

    def _applies(self, error: BaseException) -> bool:
        if isinstance(error, self.dont_autoretry_for):
            return False
        if isinstance(error, Retry):
            return True
        if self.autoretry_for:
            return isinstance(error, self.autoretry_for)
        return self.max_retries is not None and isinstance(error, Exception)


def as_ours(error: Exception) -> Exception:
    """Return Celery's own `Retry` as ours, other errors as they are; a moment (`when`) means the usual back-off."""
    if not isinstance(error, CeleryRetry):
        return error
    seconds = float(error.when) if isinstance(error.when, (int, float)) else None
    ours = Retry(str(error.message or ""), countdown=seconds)
    ours.__cause__ = error.exc if isinstance(error.exc, Exception) else error.__cause__
    return ours


def cause_of(error: Exception) -> Exception:
    """Return what an event that is not tried again failed of: what a `Retry` was raised from, else *error* itself."""
    return error.__cause__ if isinstance(error, Retry) and isinstance(error.__cause__, Exception) else error
