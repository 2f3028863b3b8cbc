"""The Celery side: one task per handled name, and what the worker's main process reports of one that ended badly."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from billiard.einfo import ExceptionWithTraceback
from celery import Task
from celery.exceptions import Terminated, WorkerLostError
from celery.worker.request import Request
from celery.worker.state import active_requests

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.handle import Given, TaskRun
from kaufmann_celery.handlers import Handler
from kaufmann_celery.ledger import RunLedger
from kaufmann_celery.ledger.wake import wake_text
from kaufmann_celery.worker.runtime import run_id, runtime_of
from kaufmann_celery.worker.vouching import ChildsRun

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

log = logging.getLogger(__name__)

#: Signals by which a deploy ends a worker; they do not count against an event.
_DEPLOY_SIGNALS = ("(SIGTERM)", "(SIGINT)")


class EventRequest(Request):
    """A task as the worker's main process knows it: the one place that hears of a child's death at once."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Hear that a process runs the task; vouch for it where that is a child of this one."""
        super().on_accepted(pid, time_accepted)
        if pid != os.getpid():
            run = ChildsRun(self._ledger(), pid, lambda: self in active_requests)
            runtime_of(self.task.kaufmann).vouching.add(run)

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:  # noqa: FBT001, FBT002 - Celery's signature
        """Hear of a child that died or left by `sys.exit`; other failures were reported by the child."""
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, (WorkerLostError, SystemExit, KeyboardInterrupt)):
            deploy = any(signal in str(error) for signal in _DEPLOY_SIGNALS)
            self._release("died", at_fault=not deploy)
        elif isinstance(error, Terminated):
            self._release("revoked", at_fault=False)
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """Hear of a hard time limit; the child that ran the task is killed."""
        if not soft:
            self._release("time_limit", at_fault=False)
        super().on_timeout(soft, timeout)

    def revoked(self) -> bool:
        """Hear that the task was revoked before it ran."""
        was_revoked = bool(super().revoked())
        if was_revoked:
            self._release("revoked", at_fault=False)
        return was_revoked

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - Celery's signature
        """Describe the task, for `inspect` and Flower, by what its `argsrepr` says: never by payloads."""
        return super().info(safe=True)

    def _release(self, reason: str, *, at_fault: bool) -> None:
        ledger, events = self._ledger(), self.args[4]
        text = wake_text(ledger.base, self.task.handler.pattern, 0, 0.0)
        try:
            ledger.release([(offset, d) for offset, d, *_ in events], reason=reason, at_fault=at_fault, text=text)
        except UnavailableError:
            # The lease runs out by itself, and the owner then sends the events again.
            log.warning("Redis is away; %s waits for its lease to end", self.id, extra={"action": "release"})

    def _ledger(self) -> RunLedger:
        kaufmann, (base, incarnation, *_) = self.task.kaufmann, self.args
        run = run_id(self.id, self.worker_pid)
        return RunLedger(runtime_of(kaufmann).ledger, base, incarnation, run, kaufmann.config.lease)


class EventTask(Task):
    """Runs events of one name or glob. Sent by the ingester only; its arguments are positions and opaque text."""

    abstract = True
    typing = False
    ignore_result = True
    store_errors_even_if_ignored = False
    # The ledger brings back what is lost, so Celery's own redelivery would only repeat.
    acks_late = False
    reject_on_worker_lost = False
    track_started = False
    max_retries = 0
    serializer = "json"
    Request = EventRequest

    kaufmann: Kaufmann
    handler: Handler

    def run(
        self,
        base: str,
        incarnation: str,
        topic: str,
        partition: int,
        events: list[list[Any]],
        texts: list[str],
    ) -> str:
        """Handle the events; raise the first handler's failure, so that Celery and Flower show it."""
        runtime = runtime_of(self.kaufmann)
        ledger = RunLedger(runtime.ledger, base, incarnation, run_id(self.request.id), self.kaufmann.config.lease)
        run = TaskRun(runtime, self.handler, ledger, topic, partition)
        run.run([Given(*event) for event in events], texts)
        if run.failures:
            raise run.failures[0]
        return ", ".join(f"{many} {what}" for what, many in run.became.items()) or "nothing to do: already run"


def register_task(kaufmann: Kaufmann, handler: Handler) -> None:
    """Register the Celery task of a handler, on the service's app, without configuring the app yet."""
    options = handler.options
    attributes = {
        "kaufmann": kaufmann,
        "handler": handler,
        "name": handler.task_name,
        "time_limit": options.time_limit,
        "soft_time_limit": options.soft_time_limit,
        "rate_limit": options.rate_limit,
        "__doc__": handler.function.__doc__,
        "__module__": handler.function.__module__,
    }
    task = type("EventTask", (EventTask,), attributes)
    kaufmann.celery.on_after_finalize.connect(lambda sender, **_: sender.register_task(task()), weak=False)
    if kaufmann.celery.finalized:
        kaufmann.celery.register_task(task())
