"""The loop's inbox: what the consumer's thread and the workers tell the ingester."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from kaufmann_celery.ledger.wake import Woken


class Inbox(SimpleQueue[Any]):
    """Filled by any thread, emptied by the ingester's loop alone."""

    def wait(self, timeout_s: float, *, rest_until: float, reports_until: float = 0.0, enough: int) -> list[Any]:
        """Return what came in first, waiting a moment for it.

        Before *rest_until* (monotonic seconds), until workers have reported *enough* events, return what follows too;
        before *reports_until* also, as long as nothing but reports comes.
        """
        messages: list[Any] = []
        reported, until = 0, max(rest_until, reports_until)
        with suppress(Empty):
            left = timeout_s
            while not messages or (reported < enough and (left := until - time.monotonic()) > 0):
                messages.append(self.get(timeout=left))
                events = _events(messages[-1])
                reported += events
                if not events:
                    until = rest_until
        return messages

    def come(self) -> Iterator[Any]:
        """Yield what has come in."""
        while not self.empty():
            yield self.get_nowait()


def _events(message: Any) -> int:
    return message.events if isinstance(message, Woken) else 0
