"""Waits for Redis and the registry where nothing else will do: what was handled must be reported."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.outage import Outage

log = logging.getLogger(__name__)

#: Seconds between attempts, at first and at most; it is tried for as long as the process lives.
_RETRY_S, _RETRY_MOST_S = 0.5, 5.0

Answer = TypeVar("Answer")


def insist(call: Callable[[], Answer]) -> Answer:
    """Return what *call* does, called until it raises no `UnavailableError`, however long that takes."""
    try:
        return call()
    except UnavailableError as error:
        return _again(call, error)


def _again(call: Callable[[], Answer], error: UnavailableError) -> Answer:
    outage, delay = Outage(), _RETRY_S
    while True:
        if outage.is_news(str(error), time.monotonic()):
            log.warning("%s; trying until it answers", error, extra={"action": "wait"})
        time.sleep(delay)
        delay = min(_RETRY_MOST_S, delay * 2)
        try:
            answer = call()
        except UnavailableError as still:
            error = still
        else:
            log.warning("it answers again after %.0f s", outage.ended(time.monotonic()), extra={"action": "go_on"})
            return answer
