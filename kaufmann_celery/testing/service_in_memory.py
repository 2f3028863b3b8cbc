"""A service in one process: a record goes the way it goes in production, decode, task, handle, up to its outcome.

What is left out lies between the steps: Kafka, Redis, Celery's broker, and the time that a retry waits.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from traceback import TracebackException
from typing import Any, TypeVar
from uuid import uuid4

import celery
from celery import signals
from kafka import TopicPartition
from kombu import serialization

import kaufmann_celery
from kaufmann_celery.app import Kaufmann
from kaufmann_celery.decode import Decoder
from kaufmann_celery.handlers import Handler
from kaufmann_celery.ledger import FIRST, UNTAGGED, OwnerLedger, Past
from kaufmann_celery.middleware import Hooks
from kaufmann_celery.ordering import Ordering
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.outputs.outcome import Outcome, decode
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending
from kaufmann_celery.tasks.celery_out import TaskMessage
from kaufmann_celery.tasks.envelope import Decoded
from kaufmann_celery.tasks.given import Given
from kaufmann_celery.tasks.traces import after, directory_of
from kaufmann_celery.testing.reading_back import ReadingBack, Record
from kaufmann_celery.testing.stand_ins import LedgerInMemory, registry_in_memory, runtime_in_memory
from kaufmann_celery.worker.runtime import standing_in

_Answer = TypeVar("_Answer")
#: Whose lines stand between a handler's and whoever reads its traceback.
_NOT_THE_USERS = tuple(map(directory_of, (kaufmann_celery, celery, asyncio)))


@dataclass(frozen=True, slots=True)
class Handled:
    """What became of a record that a handler wanted."""

    decoded: Decoded
    outcome: Outcome
    #: The handler's own, of the run that failed for good; empty where none did.
    traceback: str = ""
    runs: int = 1


class ServiceInMemory:
    """Takes records one after the other. Raises `ConfigError` where settings or handlers are wrong."""

    def __init__(self, kaufmann: Kaufmann) -> None:
        kaufmann.load()
        self._kaufmann = kaufmann
        self._ledger = LedgerInMemory()
        self.registry = registry_in_memory(kaufmann)
        self.runtime = runtime_in_memory(kaufmann, self._ledger, self.registry)
        self.incarnation = uuid4().hex
        self._failures = Failures(kaufmann.config, self.runtime.error_events)
        config = kaufmann.config
        self._decoder = Decoder(
            kaufmann.handlers, self.runtime.transcoders, service=config.service,
            max_event_bytes=config.max_event_bytes,
            ordering=Ordering(config, kaufmann.handlers), hooks=Hooks(kaufmann.middleware, "decode"),
        )  # fmt: skip
        self.reading_back = ReadingBack(self.runtime.transcoders)

    def wants(self, record: Record) -> bool:
        """Return whether a handler wants the event that *record* is."""
        return self._decoder.decode(record) is not None

    def handle(self, record: Record) -> Handled | None:
        """Return what becomes of *record*; None where no handler wants its event."""
        decoded = self._decoder.decode(record)
        if decoded is None:
            return None
        handled = _outside_any_loop(lambda: self._handle(record, decoded))
        return self._with_dead_letter(record, handled)

    def _handle(self, record: Record, decoded: Decoded) -> Handled:
        told = self._kaufmann.on_error_for(decoded.name) is not None
        if decoded.handler is None or (decoded.error is not None and not told):
            return Handled(decoded, self._failures.undecodable(*self._pending(record, decoded)))
        past = FIRST
        with self._tracebacks(decoded.handler) as tracebacks:
            while True:
                self._run(record, decoded, decoded.handler, past)
                reported = self._ledger.reported.pop()
                if reported.kind == "outcome":
                    return Handled(decoded, decode(reported.what), "".join(tracebacks), past.attempt)
                past = past._replace(d=past.d + 1, failures=past.failures + 1)

    def _run(self, record: Record, decoded: Decoded, handler: Handler, past: Past) -> None:
        """Run the handler's Celery task, with arguments that have been on their way."""
        given = Given.of(record.offset, past, None if decoded.lane is None else 1)
        message = TaskMessage(
            handler, "in-memory", self.incarnation, UNTAGGED, record.topic, record.partition, [given], [decoded.text]
        )
        content_type, encoding, body = serialization.dumps(message.args(), "json")
        args = serialization.loads(body, content_type, encoding, accept=[content_type])
        task = self._kaufmann.celery.tasks[handler.task_name]
        with standing_in(self._kaufmann, self.runtime):
            ended = task.apply(args, task_id=message.task_id(self._kaufmann.config.consumer_group), throw=False)
        if not self._ledger.reported:
            # What failed is not the handler, whose failure is reported as any outcome.
            ended.get()

    @contextmanager
    def _tracebacks(self, handler: Handler) -> Iterator[list[str]]:
        found: list[str] = []

        def failed(exception: BaseException, **_: Any) -> None:
            found.append(_users_traceback(exception))

        task = self._kaufmann.celery.tasks[handler.task_name]
        signals.task_failure.connect(failed, sender=task, weak=False)
        try:
            yield found
        finally:
            signals.task_failure.disconnect(failed, sender=task)

    def _with_dead_letter(self, record: Record, handled: Handled) -> Handled:
        if handled.decoded.error is None:
            return handled
        letter = self._failures.dead_letter(*self._pending(record, handled.decoded), handled.outcome)
        if letter is None:
            return handled
        return replace(handled, outcome=replace(handled.outcome, records=(*handled.outcome.records, letter)))

    def _pending(self, record: Record, decoded: Decoded) -> tuple[OwnedPartition, Pending]:
        ledger = OwnerLedger(self.runtime.ledger, "in-memory", generation=1, member="in-memory")
        ledger.incarnation = self.incarnation
        committed = Committed(record.offset, -1, (), self.incarnation)
        owned = OwnedPartition(TopicPartition(record.topic, record.partition), ledger, committed)
        return owned, Pending(record, decoded, failure=decoded.error)


def _outside_any_loop(call: Callable[[], _Answer]) -> _Answer:
    """Call, in another thread where this one runs an event loop: an `async` handler needs one of its own."""
    if not _runs_a_loop():
        return call()
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(contextvars.copy_context().run, call).result()


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _users_traceback(error: BaseException) -> str:
    """Return the traceback from the handler's first line on; the error alone where none is the handler's."""
    trace = after(_NOT_THE_USERS, error.__traceback__)
    return "".join(TracebackException(type(error), error, trace).format()).rstrip()
