"""How a worker takes event tasks off a Redis queue: without kombu's notes in Redis of what is not acknowledged yet.

These notes cost more than all else that Celery does for a message, two transactions each. They are for redelivery,
which event tasks do not need: what is lost with a worker the ledger brings back, and sooner. Other tasks of the same
worker keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from kombu.transport import redis, virtual


class EventQoS(redis.QoS):
    """Holds the messages of event tasks in memory alone. They count towards the prefetch limit like others."""

    def __init__(self, is_event: Callable[[str], bool], channel: Any, prefetch_count: int = 0) -> None:
        super().__init__(channel, prefetch_count)
        #: Whether a task of this name is an event task.
        self._is_event = is_event

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message that was taken off its queue."""
        if self._is_event(_task_of(message)):
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget a message."""
        if self._is_ours(delivery_tag):
            virtual.QoS.ack(self, delivery_tag)
        else:
            super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT001, FBT002 - kombu's signature
        """Forget a message, and put it back into its queue where *requeue*."""
        if not self._is_ours(delivery_tag):
            super().reject(delivery_tag, requeue=requeue)
            return
        if requeue:
            self._put_back(self._delivered[delivery_tag])
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Put back what was not begun, when the worker stops."""
        for tag in [tag for tag in self._delivered if self._is_ours(tag)]:
            self._put_back(self._delivered.pop(tag))
        super().restore_unacked(client)

    def _is_ours(self, delivery_tag: str) -> bool:
        message = self._delivered.get(delivery_tag)
        return message is not None and self._is_event(_task_of(message))

    def _put_back(self, message: Any) -> None:
        where = message.delivery_info
        with self.channel.conn_or_acquire() as client:
            # At the end from which it is taken next.
            self.channel._do_restore_message(message._raw, where["exchange"], where["routing_key"], client)


def take_lightly(connection: Any, is_event: Callable[[str], bool]) -> None:
    """Have the channel by which a worker takes tasks from *connection* do so, where that is to Redis."""
    channel = connection.default_channel
    if isinstance(channel, redis.Channel):
        channel.QoS = partial(EventQoS, is_event)


def _task_of(message: Any) -> str:
    return str(message.headers.get("task", ""))
