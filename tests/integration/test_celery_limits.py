"""Celery's options on handlers: time and rate limits, revoke, retries."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from tests.integration.scene import GOOD, Scene, avro, scene
from tests.integration.service_process import eventually
from tests.integration.user_commands import ONE_WORKER, Commands, commands

SERVICE = """
import time
from pathlib import Path
from celery import current_task
from kaufmann_celery import Kaufmann, Output, Retry

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery

def note(*words):
    with open("runs", "a") as runs:
        runs.write(" ".join(map(str, words)) + "\\n")

@kaufmann.on("order.endless", time_limit=1)
def endless(event):
    note("endless", event.attempt)
    time.sleep(60)

@kaufmann.on("order.slow", soft_time_limit=1)
def slow(event):
    note("slow", event.attempt)
    time.sleep(60)

@kaufmann.on("order.counted", rate_limit="10/s")
def counted(event):
    note("counted", current_task.request.id, time.time())

@kaufmann.on("order.blocking", time_limit=60)
def blocking(event):
    note("blocking")
    while not Path("go").exists():
        time.sleep(0.05)

@kaufmann.on("order.held", batch=1)
def held(event):
    note("held")

@kaufmann.on("order.again")
def again(event):
    note("again", event.attempt, time.time())
    if event.attempt < 3:
        raise Retry(countdown=0.2)
    return Output("again.handled", {"id": event.payload["id"], "attempt": event.attempt}, format="json")

@kaufmann.on("order.refused", max_retries=2, retry_backoff=0.1)
def refuse(event):
    note("refused", event.attempt)
    raise LookupError("nobody wants it")
"""
NAMES = ("endless", "slow", "counted", "blocking", "held", "again", "refused")


@pytest.fixture(scope="module")
def orders(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Commands]]:
    schemas = {f"order.{name}": GOOD for name in NAMES}
    with (
        scene(tmp_path_factory.mktemp("limits"), stack, SERVICE, name="limits", schemas=schemas) as one,
        commands(one) as typed,
    ):
        typed.start_service("-c", "2")
        yield one, typed


def value(number: str) -> bytes:
    return avro(GOOD, {"id": number})


def notes(typed: Commands, word: str) -> list[list[str]]:
    return [line.split()[1:] for line in typed.notes() if line.split()[0] == word]


def test_a_hard_time_limit_makes_an_error_event_and_the_worker_goes_on(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    position = one.send(b"order.endless", value("1"))

    one.one_error_event(position, name="order.endless", error_type="TimeLimitExceeded")
    assert notes(typed, "endless") == [["1"]]


def test_a_soft_time_limit_is_the_handlers_failure(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    position = one.send(b"order.slow", value("1"))

    one.one_error_event(position, name="order.slow", error_type="SoftTimeLimitExceeded")
    assert notes(typed, "slow") == [["1"]]


def test_events_with_a_rate_limit_travel_one_per_task_and_no_faster(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    sent = [one.send(b"order.counted", value(str(number))) for number in range(12)]

    one.kafka.await_all_committed(one.name, one.name)
    runs = notes(typed, "counted")
    assert {task for task, _ in runs} == {f"order.counted@{position}.1" for position in sent}
    assert len(runs) == len(sent)
    times = sorted(float(at) for _, at in runs)
    assert times[-1] - times[0] > 0.9


def test_a_task_revoked_before_it_runs_makes_an_error_event(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    for number in range(2):
        one.send(b"order.blocking", value(str(number)))
    eventually(lambda: len(notes(typed, "blocking")) == 2, "the worker is busy", gives_up=typed.has_died)
    position = one.send(b"order.held", value("held"))
    task = f"order.held@{position}.1"

    revoked = typed.run("celery", "-A", "service", "control", *ONE_WORKER, "revoke", task)
    (typed.directory / "go").touch()

    assert revoked.returncode == 0, revoked.stderr
    one.one_error_event(position, name="order.held", error_type="TaskRevokedError")
    assert notes(typed, "held") == []


def test_a_raised_retry_runs_the_event_again_and_counts_its_attempts(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    one.send(b"order.again", value("again"))

    (found,) = one.handled("again", name="again.handled")
    runs = notes(typed, "again")
    assert found["attempt"] == 3
    assert [attempt for attempt, _ in runs] == ["1", "2", "3"]
    assert all(later - earlier >= 0.2 for earlier, later in pairwise(float(at) for _, at in runs))


def test_two_retries_are_three_runs_and_then_an_error_event(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    position = one.send(b"order.refused", value("1"))

    found = one.one_error_event(position, name="order.refused", error_type="LookupError", attempts=3)
    assert found.header["kaufmann-error-message"] == b"nobody wants it"
    assert notes(typed, "refused") == [["1"], ["2"], ["3"]]
