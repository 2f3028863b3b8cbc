"""Celery out: tasks to the broker, several in one round trip where it can batch. Celery's sending stays here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from amqp.exceptions import ChannelError, PreconditionFailed
from kombu.exceptions import BatchPublishError, OperationalError
from kombu.serialization import registry

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.handlers import Handler
from kaufmann_celery.tasks.celery_app import queue_named
from kaufmann_celery.tasks.given import Given, rows

#: The one by which `_json` is known to kombu; what it writes is read as any JSON.
_SERIALIZER = "kaufmann-task"
#: Tasks per round trip.
_BATCH = 500
#: Events that the broker has sooner than another thread is told of them.
_FEW = 100
#: Events that Flower names of one task.
SHOWN = 10


@dataclass(frozen=True, slots=True)
class TaskMessage:
    """One Celery message: events of one handler and one partition."""

    handler: Handler
    #: Where the ledger stands, its incarnation, and the tag of the claims that this may begin.
    base: str
    incarnation: str
    tag: str
    topic: str
    partition: int
    events: Sequence[Given]
    #: Their envelopes.
    texts: Sequence[str] = field(repr=False)
    #: Name and id of the first `SHOWN`, for people.
    shown: Sequence[str] = ()

    def task_id(self, group: str) -> str:
        """Return the id: the same for the same events sent again by *group*, another for a new run, as d is in it.

        For Celery never forgets a revoked id. A group named like the topic, as it is by default, stays out of it.
        """
        first, more = self.events[0], len(self.events) - 1
        whose = "" if group == self.topic else f"{group}/"
        company = f"+{more}" if more else ""
        return f"{self.handler.pattern}@{whose}{self.topic}:{self.partition}:{first.offset}{company}.{first.d}"

    def args(self) -> list[Any]:
        """The task's arguments; no dict among them, see envelope.py."""
        return [
            self.base,
            self.incarnation,
            self.tag,
            self.topic,
            self.partition,
            rows(self.events),
            self.texts,
        ]

    def argsrepr(self) -> str:
        """What Flower shows: names, ids and positions, never payloads."""
        where = f"{self.topic}:{self.partition}"
        shown = ", ".join(
            f"{label} at {where}:{one.offset}" for label, one in zip(self.shown, self.events, strict=False)
        )
        more = f", and {len(self.events) - SHOWN} more" if len(self.events) > SHOWN else ""
        return f"({shown}{more})"


class CeleryOut:
    """Sends tasks. Used by one thread. Each call blocks for at most a few seconds.

    A thread of its own waits for the broker, and has the connection while what `send` returned was not called.
    """

    def __init__(self, app: Any, group: str, queue_of: Callable[[Handler], str]) -> None:
        self._app = app
        self._group = group
        self._queue_of = queue_of
        self._producer: Any = None
        #: Queues that are there, as far as this connection knows.
        self._declared: set[str] = set()
        self._thread = ThreadPoolExecutor(1, "kaufmann-send")
        #: What the thread does.
        self._flushing: Future[None] | None = None

    def send(self, messages: Sequence[TaskMessage]) -> Callable[[], None]:
        """Begin to hand *messages* to the broker; return what waits until it has them, to be called before all else.

        Both raise `UnavailableError` where it is away; any of them may have been sent, and all may be sent again.
        """
        with self._translated():
            for queue in {self._queue_of(message.handler) for message in messages}:
                self._declare(queue)
            producer = self._connected()
            if not getattr(producer, "supports_batch_publish", False):
                self._send_each(producer, messages)
                return lambda: None
            batch = producer.batch(_BATCH)
            with ExitStack() as stack:
                stack.enter_context(batch)
                self._send_each(producer, messages)
                if sum(len(message.events) for message in messages) < _FEW:
                    return lambda: None
                self._flushing = self._thread.submit(batch.flush)
                return partial(self._await, self._flushing, stack.pop_all())

    def _await(self, flushing: Future[None], batch: ExitStack) -> None:
        with self._translated(), batch:
            flushing.result()

    def waiting(self, queue: str) -> int:
        """Return how many messages wait in *queue*. Raises `UnavailableError`."""
        with self._translated():
            channel = self._connected().channel
            try:
                return int(channel.queue_declare(queue=queue, passive=True).message_count)
            except ChannelError as error:
                if str(error.reply_code) != "404":
                    raise
                # In Redis a queue without messages does not exist. In AMQP somebody deleted it.
                self._declared.discard(queue)
                return 0

    def close(self) -> None:
        """Drop the connection; the next call makes a new one."""
        flushing, self._flushing = self._flushing, None
        if flushing is not None:
            wait([flushing])
        producer, self._producer = self._producer, None
        self._declared.clear()
        if producer is not None:
            producer.connection.collect()

    @cached_property
    def _away(self) -> tuple[type[BaseException], ...]:
        connection = self._app.connection_for_write()
        return (*connection.connection_errors, *connection.channel_errors)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (*self._away, BatchPublishError, OperationalError, OSError) as error:
            self.close()
            raise UnavailableError(f"Celery's broker does not answer ({type(error).__name__})") from error

    def _connected(self) -> Any:
        if self._producer is None:
            connection = self._app.connection_for_write()
            connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=5)
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
            if hasattr(self._producer.channel, "body_encoding"):
                # Kombu's Base64 is for bytes; a task's body is text.
                self._producer.channel.body_encoding = None
        return self._producer

    def _declare(self, queue: str) -> None:
        """Make sure that *queue* is there: AMQP drops what is sent to one that no worker has declared yet."""
        if queue in self._declared:
            return
        # Refused where it is there with other arguments, which is as good.
        with suppress(PreconditionFailed):
            queue_named(self._app, queue).bind(self._connected().channel).declare()
        self._declared.add(queue)

    def _send_each(self, producer: Any, messages: Iterable[TaskMessage]) -> None:
        for message in messages:
            headers, properties, body, _ = self._app.amqp.as_task_v2(
                message.task_id(self._group),
                message.handler.task_name,
                args=message.args(),
                kwargs={},
                argsrepr=message.argsrepr(),
                kwargsrepr="{}",
                ignore_result=True,
                origin="kaufmann",
            )
            producer.publish(
                body,
                exchange="",
                routing_key=self._queue_of(message.handler),
                headers=headers,
                serializer=_SERIALIZER,
                delivery_mode=2,
                retry=False,
                **properties,
            )


def _json(body: tuple[list[Any], Any, Any]) -> str:
    """Return a task's body as JSON, without a look at each character of its envelopes, which are most of it."""
    (*facts, texts), kwargs, embed = body
    joined = '","'.join(texts)
    # An envelope is Base64, or JSON itself, which has quotes.
    is_plain = joined.isascii() and "\\" not in joined and joined.count('"') == 2 * (len(texts) - 1)
    shown = f'["{joined}"]' if is_plain else json.dumps(texts)
    return f"[[{json.dumps(facts)[1:-1]},{shown}],{json.dumps(kwargs)},{json.dumps(embed)}]"


registry.register(_SERIALIZER, _json, None, content_type="application/json")
# Who looks for the serializer of this type means the one that writes anything.
registry.type_to_name["application/json"] = "json"
