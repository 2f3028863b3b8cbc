"""What a worker's main process tells the ledger of a task that ended badly, or never ran."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from billiard.einfo import ExceptionInfo
from celery import Celery
from celery.exceptions import Terminated, WorkerLostError
from celery.worker.state import revoked as revoked_tasks
from kombu.message import Message

from kaufmann_celery import Kaufmann
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import LedgerConnection
from kaufmann_celery.tasks.event_request import EventRequest
from kaufmann_celery.worker.runtime import WorkerRuntime, run_id, standing_in

CHILD = 4711

_numbers = itertools.count()


@dataclass
class Ledger:
    """Keeps what it was told, script by script."""

    told: list[tuple[Any, ...]] = field(default_factory=list)
    away: bool = False

    def run(self, script: str, _keys: Sequence[str], args: Sequence[Any]) -> int:
        if self.away:
            raise UnavailableError
        incarnation, run, reason, at_fault, _text, *events = args
        self.told.append((script, incarnation, run, reason, bool(at_fault), events))
        return 1


@dataclass
class Scene:
    """A task of the events 7 and 8, which the process `CHILD` runs."""

    request: EventRequest
    ledger: Ledger

    def released(self, reason: str, *, at_fault: bool) -> tuple[Any, ...]:
        return ("release", "history", run_id(self.request.id, CHILD), reason, at_fault, ["7-8", 1])

    def fails_by(self, error: BaseException) -> None:
        """Hear of *error* as the pool tells of it."""
        with pytest.raises(type(error)) as raised:
            raise error
        info = ExceptionInfo((raised.type, raised.value, raised.tb))
        self.request.on_failure(info, send_failed_event=False, return_ok=True)


@pytest.fixture
def scene() -> Iterator[Scene]:
    kaufmann = Kaufmann("orders", celery=Celery(broker="memory://", set_as_current=False))
    kaufmann.on("order.placed")(print)
    task = next(one for name, one in kaufmann.celery.tasks.items() if "order.placed" in name)
    args = ["base", "history", "tag", "orders", 0, [[7, 8, 1, 1, 0, None]], ["", ""]]
    headers, properties, body, _ = kaufmann.celery.amqp.as_task_v2(f"task-{next(_numbers)}", task.name, args=args)
    message = Message(headers=headers, properties=properties, delivery_info={}, body="")
    request = EventRequest(message, app=kaufmann.celery, task=task, body=body, decoded=True)
    request.worker_pid = CHILD
    ledger = Ledger()
    runtime = WorkerRuntime(kaufmann, ledger=cast(LedgerConnection, ledger))
    with standing_in(kaufmann, runtime):
        yield Scene(request, ledger)


@pytest.mark.parametrize(
    ("how", "at_fault"),
    [
        ("Worker exited prematurely: signal 9 (SIGKILL)", True),
        ("Worker exited prematurely: signal 11 (SIGSEGV)", True),
        ("Worker exited prematurely: exitcode 1", True),
        ("Worker exited prematurely: signal 15 (SIGTERM)", False),
        ("Worker exited prematurely: signal 2 (SIGINT)", False),
    ],
)
def test_a_childs_death_is_told_by_the_run_that_it_held_and_a_deploy_is_nobodys_fault(
    scene: Scene, how: str, *, at_fault: bool
) -> None:
    scene.fails_by(WorkerLostError(how))

    assert scene.ledger.told == [scene.released("died", at_fault=at_fault)]


def test_what_the_handler_raises_was_told_by_the_child(scene: Scene) -> None:
    scene.fails_by(ValueError())

    assert scene.ledger.told == []


def test_a_task_that_was_terminated_is_revoked(scene: Scene) -> None:
    scene.fails_by(Terminated(signal.SIGTERM))

    assert scene.ledger.told == [scene.released("revoked", at_fault=False)]


def test_a_task_over_its_time_limit_is_told_of_once_it_is_killed(scene: Scene) -> None:
    scene.request.on_timeout(soft=True, timeout=1.0)
    assert scene.ledger.told == []
    scene.request.on_timeout(soft=False, timeout=1.0)
    assert scene.ledger.told == [scene.released("time_limit", at_fault=False)]


def test_a_task_that_is_revoked_before_it_runs_is_told_of(scene: Scene) -> None:
    assert not scene.request.revoked()
    assert scene.ledger.told == []
    revoked_tasks.add(scene.request.id)
    try:
        assert scene.request.revoked()
    finally:
        revoked_tasks.discard(scene.request.id)

    assert scene.ledger.told[0] == scene.released("revoked", at_fault=False)


def test_where_redis_is_away_the_lease_runs_out_by_itself(scene: Scene) -> None:
    scene.ledger.away = True
    scene.fails_by(WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL)"))

    assert scene.ledger.told == []


def test_a_run_is_named_for_its_task_and_the_process_that_runs_it() -> None:
    assert run_id("task") == run_id("task", os.getpid())
    assert len({run_id("task", 1), run_id("task", 2), run_id("other", 1)}) == 3
