"""Step 4, handle: in a Celery worker, run the handler for each event of a task and report what became of it.

Begin first, before any payload is decoded: whoever does not get the lease does not run. Report as it goes, so that
a task that dies half-way has reported its first half.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections import Counter
from collections.abc import AsyncIterable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kaufmann_celery.errors import EventTooLarge, message_of
from kaufmann_celery.event import ErrorEvent, Event, Output, Position
from kaufmann_celery.handlers import Handler
from kaufmann_celery.ledger import Report, RunLedger
from kaufmann_celery.ledger.wake import wake_text
from kaufmann_celery.outputs.composing import collect, message_id_of, utc_now
from kaufmann_celery.outputs.error_event import FailedEvent
from kaufmann_celery.outputs.metadata import Cause
from kaufmann_celery.outputs.outcome import Outcome, OutRecord
from kaufmann_celery.tasks import envelope
from kaufmann_celery.tasks.given import Given
from kaufmann_celery.tasks.retries import as_ours, cause_of
from kaufmann_celery.tasks.traces import from_the_handler_on
from kaufmann_celery.worker.failure_log import FailureLog, facts, label
from kaufmann_celery.worker.insisting import insist
from kaufmann_celery.worker.leases import KeptLease
from kaufmann_celery.worker.runtime import WorkerRuntime, this_runner

log = logging.getLogger(__name__)

#: Seconds of handling after which what is done is reported, while the task goes on.
_REPORT_EVERY_S = 0.05
#: What `kaufmann.publish` emits inside a handler.
emitting: ContextVar[list[Output] | None] = ContextVar("kaufmann_emitting", default=None)


@dataclass(slots=True)
class TaskRun:
    """One execution of one task in one worker."""

    runtime: WorkerRuntime
    handler: Handler
    ledger: RunLedger
    topic: str
    partition: int
    #: Of handlers that failed for good.
    failures: FailureLog = field(default_factory=FailureLog)
    #: What became of the others, in words, each with how many.
    became: Counter[str] = field(default_factory=Counter)
    _reports: list[Report] = field(default_factory=list)
    #: Held where another thread might take them at the same time.
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _handled: int = 0
    _done: int = 0
    #: Seconds in handlers.
    _spent: float = 0.0
    _reported_at: float = field(default_factory=time.monotonic)
    #: Lanes with an event that ran and is not reported yet; and those in which nothing more is run here.
    _unreported: set[int] = field(default_factory=set)
    _stopped: set[int] = field(default_factory=set)

    def run(self, events: Sequence[Given], texts: Sequence[str]) -> None:
        """Run the events that this run gets the lease of. Blocks until all are reported."""
        leased = [(event.offset, event.d) for event in events]
        began_at = time.monotonic()
        accepted = insist(lambda: self.ledger.begin(leased))
        mine = _in_rounds([one for one in zip(events, texts, strict=True) if one[0].offset in accepted])
        if not mine:
            return
        # A late copy of the task: the one before may yet run again.
        self._stopped.update(one.lane for one in events if one.offset not in accepted and one.lane is not None)
        held, loose = [(one.offset, one.d) for one, _ in mine], [one.offset for one, _ in mine if one.lane is None]
        with self.runtime.leases.keep(self.ledger, held, began_at, loose) as kept:
            kept.while_long = partial(self._report_meanwhile, kept)
            try:
                self._run_all(mine, kept)
            finally:
                # Also when a handler leaves by `sys.exit`: what ran before it has been handled.
                self.failures.write()
                if self._reports:
                    self._report(kept, last=len(mine) == self._done)

    def _run_all(self, mine: Sequence[tuple[Given, str]], kept: KeptLease) -> None:
        for given, text in mine:
            if given.lane in self._unreported:
                # Were this process to die now, the one before would run again, after this one.
                self._report(kept, last=False, wakes=False)
            self._done += 1
            if given.lane in self._stopped:
                self._note(Report(given.offset, given.d, held=True))
            elif insist(partial(kept.may_start, given.offset)):
                report = self._run_one(given, text)
                kept.ended()
                self._note(report)
            if self._done < len(mine) and time.monotonic() - self._reported_at >= _REPORT_EVERY_S:
                self._report(kept, last=False)
        insist(kept.give_back)  # what the ledger has not heard of

    def _note(self, report: Report) -> None:
        with self._lock:
            self._reports.append(report)

    def _report(self, kept: KeptLease, *, last: bool, wakes: bool = True) -> None:
        self.failures.write()
        text, reports = self._wake_text() if wakes else "", self._take_reports()
        if insist(lambda: self._send(kept, reports, last=last, text=text)):
            self._stopped |= self._unreported
        self._unreported.clear()

    def _report_meanwhile(self, kept: KeptLease) -> None:
        """Report what has run, while a handler takes long; called by the thread that keeps the leases.

        Not where lanes are: what is reported there is known before the next of its lane begins.
        """
        # Held until the ledger has answered: what it has not heard of is the run's own again.
        with self._lock:
            if self._reports and not self._unreported:
                self.failures.write()
                self._send(kept, self._reports, last=False, text=wake_text(self.ledger.base))
                self._reports = []

    def _send(self, kept: KeptLease, reports: Sequence[Report], *, last: bool, text: str) -> set[int]:
        """Report; return the offsets of those that another run has taken over, as the log says."""
        refused = self.ledger.finish(reports, last=last, text=text)
        kept.drop({report.offset for report in reports})
        if refused:
            log.warning(
                "%d events of %s were taken over by another run; their outcomes here are dropped",
                len(refused), self.handler.pattern,
                extra={"action": "overtaken", "topic": self.topic, "partition": self.partition},
            )  # fmt: skip
        return refused

    def _take_reports(self) -> list[Report]:
        with self._lock:
            reports, self._reports = self._reports, []
        return reports

    def _wake_text(self) -> str:
        text = wake_text(self.ledger.base, self.handler.pattern, self._handled, self._spent, this_runner())
        self._handled, self._spent, self._reported_at = 0, 0.0, time.monotonic()
        return text

    def _run_one(self, given: Given, text: str) -> Report:
        failed = self.failures.count
        unpacked = envelope.unpack(text, Position(self.topic, self.partition, given.offset), given.attempt)
        if unpacked.error is not None:
            # This dispatch is for `on_error` alone: the runs that failed came before it.
            outcome = self._failed(unpacked, *unpacked.error, attempts=max(1, given.attempt - 1))
            report = Report(given.offset, given.d, outcome.encode())
            self.became["handed to on_error"] += 1
        else:
            report = self._handle(unpacked, given)
        self._handled += 1
        if given.lane is not None:
            self._unreported.add(given.lane)
            if report.retry_in is not None or self.failures.count > failed:
                self._stopped.add(given.lane)
        return report

    def _handle(self, unpacked: envelope.Unpacked, given: Given) -> Report:
        event = unpacked.event
        try:
            call = partial(_emitted, self.handler.function, event)
            if self.runtime.handle_hooks:
                call = partial(self.runtime.handle_hooks.inside, event, call)
            outputs = self._timed(call)
            outcome = Outcome(self._composed(outputs, event, first_index=0)).encode() if outputs else b""
        except Exception as raised:  # noqa: BLE001 - the handler's: it becomes the event's failure
            error = as_ours(raised)
            countdown = self.handler.options.retry.countdown(error, given.failures + 1)
            if countdown is not None:
                log.warning(
                    "%s failed (%s), runs again in %.1f s", label(event), type(error).__name__, countdown,
                    extra=facts(event, "retry"),
                )  # fmt: skip
                self.became["to run again"] += 1
                return Report(event.offset, given.d, retry_in=countdown)
            return Report(event.offset, given.d, self._failure(unpacked, cause_of(error)).encode())
        self.became["handled"] += 1
        return Report(event.offset, given.d, outcome)

    def _timed(self, call: Callable[[], list[Output]]) -> list[Output]:
        """Return what a handler emits, and count its time: what is done here besides says nothing of the next event."""
        started = time.perf_counter()
        try:
            return call()
        finally:
            self._spent += time.perf_counter() - started

    def _failure(self, unpacked: envelope.Unpacked, error: Exception) -> Outcome:
        event = unpacked.event
        error.__traceback__ = from_the_handler_on(error.__traceback__)
        kind, said = type(error).__name__, message_of(error)
        self.failures.add(event, error, said)
        return self._failed(unpacked, kind, said, attempts=event.attempt)

    def _failed(self, unpacked: envelope.Unpacked, error_type: str, message: str, *, attempts: int) -> Outcome:
        """Return the outcome of an event that failed for good, after `on_error` has seen it."""
        event = unpacked.event
        failed = FailedEvent(
            event.name, event.position, error_type, message, attempts, unpacked.timestamp_ms,
            unpacked.raw_key, event.meta, event.payload, event.headers,
        )  # fmt: skip
        further: tuple[OutRecord, ...] = ()
        on_error = self.runtime.on_error(event.name)
        if on_error is not None:
            error_event = ErrorEvent(
                name=event.name, error=failed.error, message_payload=event.payload, meta=event.meta,
                error_type=failed.error_type, position=event.position,
            )  # fmt: skip
            try:
                further = self._composed(self._timed(partial(_emitted, on_error, error_event)), event, first_index=1000)
                Outcome(further).encode()  # what cannot be written is its failure too
            except Exception:  # the handler's: an error about an error is logged and goes no further
                log.exception("on_error failed for %s", label(event), extra=facts(event, "on_error_failed"))
        incarnation, now = self.ledger.incarnation, utc_now()
        outcome = partial(self.runtime.error_events.outcome, failed, incarnation=incarnation, now=now, further=further)
        return insist(outcome)

    def _composed(self, outputs: Sequence[Output], event: Event, *, first_index: int) -> tuple[OutRecord, ...]:
        """Encode what a handler emitted; an output that cannot be encoded is its failure."""
        if not outputs:
            return ()
        cause, now = Cause.of(event), utc_now()
        records: list[OutRecord] = []
        for index, output in enumerate(outputs, start=first_index):
            message_id = message_id_of(self.ledger.incarnation, event.position, index)
            compose = partial(self.runtime.composer.compose, output, message_id=message_id, now=now, cause=cause)
            records += insist(compose)
        if sum(record.size for record in records) > self.runtime.config.max_event_bytes:
            raise EventTooLarge("the outputs of one event are larger than max_event_bytes")
        return tuple(records)


def _emitted(function: Callable[[Any], Any], argument: Event | ErrorEvent) -> list[Output]:
    """Call a handler; return what it gives back and what it publishes."""
    emitted: list[Output] = []
    token = emitting.set(emitted)
    try:
        returned = function(argument)
        if returned is None:
            return emitted
        if inspect.isasyncgen(returned):
            returned = _all_of(returned)
        if inspect.iscoroutine(returned):
            returned = asyncio.run(returned)
        return [*collect(returned), *emitted]
    finally:
        emitting.reset(token)


def _in_rounds(events: list[tuple[Given, str]]) -> list[tuple[Given, str]]:
    """Return the first event of each lane, then the second of each: one report then does for many of them."""
    if all(given.lane is None for given, _ in events):
        return events
    seen: Counter[int | None] = Counter()
    rounds: list[int] = []
    for given, _ in events:
        rounds.append(seen[given.lane])
        seen[given.lane] += given.lane is not None
    order = sorted(range(len(events)), key=rounds.__getitem__)
    return [events[at] for at in order]


async def _all_of(outputs: AsyncIterable[Any]) -> list[Any]:
    return [one async for one in outputs]
