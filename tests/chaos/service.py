"""The service under chaos: handlers that note every run in a journal, and do what their event asks for."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import current_task

from kaufmann_celery import Event, Kaufmann, Output
from tests.chaos.journal import Journal

kaufmann = Kaufmann(os.environ.get("CHAOS_SERVICE", "chaos"))
celery = kaufmann.celery
journal = Journal(os.environ.get("CHAOS_JOURNAL", "journal"))


class Asked(Exception):
    """The event asked for this failure."""


def noted(event: Event, failures: float, retries: int = 0) -> None:
    """Run for as long as the event says; fail in the first *failures* attempts."""
    run = journal.start(event.partition, event.offset, event.attempt, str(current_task.request.id))
    time.sleep(event.payload["work_ms"] / 1000)
    if event.attempt <= failures:
        journal.end(run, "retry" if event.attempt <= retries else "failed")
        raise Asked(f"attempt {event.attempt}")
    journal.end(run, "ok")


def output(event: Event, index: int = 0) -> Output:
    source = f"{event.partition}:{event.offset}:{index}"
    payload = {"id": event.payload["id"], "work_ms": index, "failures": 0}
    return Output("chaos.done", payload, key=event.key, headers={"chaos-source": source})


@kaufmann.on("chaos.plain")
def plain(event: Event) -> Output:
    noted(event, failures=0)
    return output(event)


@kaufmann.on("chaos.silent")
def silent(event: Event) -> None:
    noted(event, failures=0)


@kaufmann.on("chaos.pair")
def pair(event: Event) -> list[Output]:
    noted(event, failures=0)
    return [output(event, 0), output(event, 1)]


@kaufmann.on("chaos.flaky", max_retries=5, retry_backoff=0.2, retry_backoff_max=1)
def flaky(event: Event) -> Output:
    noted(event, failures=event.payload["failures"], retries=5)
    return output(event)


@kaufmann.on("chaos.failing")
def failing(event: Event) -> None:
    noted(event, failures=float("inf"))


@kaufmann.on("chaos.exhausted", max_retries=1, retry_backoff=0.2)
def exhausted(event: Event) -> None:
    noted(event, failures=float("inf"), retries=1)


@kaufmann.on("chaos.deadly")
def deadly(event: Event) -> Any:
    run = journal.start(event.partition, event.offset, event.attempt, str(current_task.request.id))
    journal.dies(run)
    os.kill(os.getpid(), signal.SIGKILL)
