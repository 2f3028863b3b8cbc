"""What the worker's main process reports of an event's task that ended badly."""

from __future__ import annotations

import logging
import os
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from celery.exceptions import Terminated, WorkerLostError
from celery.worker.request import Request
from celery.worker.state import active_requests

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import RunLedger
from kaufmann_celery.ledger.wake import wake_text
from kaufmann_celery.tasks import given
from kaufmann_celery.worker.runtime import run_id, runtime_of
from kaufmann_celery.worker.vouching import ChildsRun

log = logging.getLogger(__name__)

#: Signals by which a deploy ends a worker; they do not count against an event.
_DEPLOY_SIGNALS = ("(SIGTERM)", "(SIGINT)")


class EventRequest(Request):
    """A task as the worker's main process knows it: the one place that hears of a child's death at once."""

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """Hear that a process runs the task; vouch for it where that is a child of this one."""
        super().on_accepted(pid, time_accepted)
        if pid != os.getpid():
            run = ChildsRun(self._ledger, pid, lambda: self in active_requests)
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
        ledger, events = self._ledger(), given.read(self.args[5])
        text = wake_text(ledger.base)
        try:
            ledger.release([(event.offset, event.d) for event in events], reason=reason, at_fault=at_fault, text=text)
        except UnavailableError:
            # The lease runs out by itself, and the owner then sends the events again.
            log.warning("Redis is away; %s waits for its lease to end", self.id, extra={"action": "release"})

    def _ledger(self) -> RunLedger:
        kaufmann, (base, incarnation, *_) = self.task.kaufmann, self.args
        run = run_id(self.id, self.worker_pid)
        return RunLedger(runtime_of(kaufmann).ledger, base, incarnation, run, kaufmann.config.lease)
