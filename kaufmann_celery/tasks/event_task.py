"""The Celery side: one task per handled name. Imported wherever a handler is registered, so it imports little.

What runs a task is imported by a worker before it forks (`app.py`); a web process that only publishes never needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery import Task

from kaufmann_celery.handlers import Handler

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann


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
    #: By its name: only a worker needs it.
    Request = "kaufmann_celery.tasks.event_request:EventRequest"

    kaufmann: Kaufmann
    handler: Handler

    def run(
        self,
        base: str,
        incarnation: str,
        tag: str,
        topic: str,
        partition: int,
        events: list[list[int]],
        texts: list[str],
    ) -> str:
        """Handle the events; raise the first handler's failure, so that Celery and Flower show it."""
        from kaufmann_celery.handle import TaskRun
        from kaufmann_celery.ledger import RunLedger
        from kaufmann_celery.tasks import given
        from kaufmann_celery.worker.runtime import run_id, runtime_of

        runtime, lease = runtime_of(self.kaufmann), self.kaufmann.config.lease
        ledger = RunLedger(runtime.ledger, base, incarnation, run_id(self.request.id), lease, tag)
        run = TaskRun(runtime, self.handler, ledger, topic, partition)
        run.run(given.read(events), texts)
        if run.failures.first is not None:
            raise run.failures.first
        return ", ".join(f"{many} {what}" for what, many in run.became.items()) or "nothing to do: already run"

    def on_failure(
        self, exc: Exception, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], einfo: Any
    ) -> None:
        """Leave out Celery's own frames of the traceback that it logs and that goes to the worker's main process.

        Billiard copies each frame with all positions of its code, thousands for Celery's: to pickle them takes the
        child, and to read them the main process, longer than all else for a task. The traceback's text stays whole.
        """
        from kaufmann_celery.tasks.traces import from_the_task_on

        super().on_failure(exc, task_id, args, kwargs, einfo)
        einfo.tb = from_the_task_on(einfo.tb)


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
