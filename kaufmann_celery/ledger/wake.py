"""Workers tell a partition's owner that there is something to settle. A hint: a sweep finds what it misses."""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from redis.exceptions import RedisClusterException, RedisError

from kaufmann_celery.ledger import LedgerConnection

log = logging.getLogger(__name__)

#: Seconds between attempts to subscribe while Redis is away.
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Woken:
    """A task reported. `base` is empty where hints may have been missed: look everywhere."""

    base: str = ""
    pattern: str = ""
    events: int = 0
    seconds: float = 0.0
    #: Which of the workers' processes or threads it was.
    runner: str = ""


def wake_text(base: str, pattern: str = "", events: int = 0, seconds: float = 0.0, runner: str = "") -> str:
    """Return what a worker says with a report: *events* of the handler *pattern* took *runner* so many *seconds*.

    With *base* alone: its owner should look.
    """
    return json.dumps([base, pattern, events, round(seconds, 6), runner])


class WakeListener:
    """A thread that puts each `Woken` into the inbox."""

    def __init__(self, connection: LedgerConnection, channel: str, inbox: SimpleQueue[Any]) -> None:
        self._connection = connection
        self._channel = channel
        self._inbox = inbox
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kaufmann-wake", daemon=True)

    def start(self) -> None:
        """Subscribe, in the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next turn."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except (RedisError, RedisClusterException):
                self._stop.wait(_RETRY_S)

    def _listen(self) -> None:
        with self._connection.client.pubsub() as pubsub:  # type: ignore[no-untyped-call] # redis-py types only part of itself
            pubsub.subscribe(self._channel)
            while not self._stop.is_set():
                message = pubsub.get_message(timeout=1.0)
                if message and message["type"] == "message":
                    self._inbox.put(Woken(*json.loads(message["data"])))
                elif message and message["type"] == "subscribe":
                    self._inbox.put(Woken())
