"""Commands sent now and their answers read later, over connections that are kept.

redis-py's client asks its pool for a connection at each command, which takes longer than a script does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: Seconds after an answer in which nobody looks whether Redis has closed the connection since.
_FRESH_S = 0.1

#: A command and its arguments.
Command = tuple[Any, ...]


class Lines:
    """Connections of one pool, as many as there are commands under way at a time. Thread-safe, and fork-safe."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        #: Those that no answer is awaited on, and since when (monotonic seconds).
        self._free: list[tuple[Any, float]] = []
        self._pid = os.getpid()

    def send(self, commands: Sequence[Command]) -> Callable[[], list[Any]]:
        """Send *commands*; return what waits for their answers, and has to be called. Errors of Redis are answers.

        Raises redis-py's `ConnectionError` and `TimeoutError`, and so does what it returns.
        """
        line = self._taken()
        try:
            # redis-py looks at each argument before it has hiredis do this.
            line.send_packed_command([hiredis.pack_command(command) for command in commands])
        except BaseException:
            self._given_up(line)
            raise
        return partial(self._answers, line, len(commands))

    def _answers(self, line: Any, number: int) -> list[Any]:
        answers: list[Any] = []
        try:
            for _ in range(number):
                try:
                    answers.append(line.read_response())
                except ResponseError as error:
                    answers.append(error)
        except BaseException:
            self._given_up(line)
            raise
        if line.should_reconnect():
            line.disconnect()
        self._free.append((line, time.monotonic()))
        return answers

    def _taken(self) -> Any:
        if self._pid != os.getpid():
            # The parent's: it goes on to use them.
            self._free, self._pid = [], os.getpid()
        try:
            line, since = self._free.pop()
        except IndexError:
            return self._pool.get_connection()
        if time.monotonic() - since > _FRESH_S and _is_stale(line):
            line.disconnect()
        return line

    def _given_up(self, line: Any) -> None:
        """What is still to come over it answers nobody's question any more."""
        line.disconnect()
        self._pool.release(line)


def _is_stale(line: Any) -> bool:
    """Return whether Redis has closed the connection, or says what nobody asked."""
    try:
        return bool(line.can_read())
    except (RedisConnectionError, RedisTimeoutError, OSError):
        return True
