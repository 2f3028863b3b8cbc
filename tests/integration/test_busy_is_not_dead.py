"""Who is busy is not taken for dead, and who is dead or stands still is not vouched for."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scene import GOOD, Scene, avro, scene
from tests.integration.service_process import eventually, unique
from tests.integration.user_commands import WORKER, Commands, commands, send_good

LEASE_S = 3.0
#: Seconds for which a handler holds the GIL: nothing else of its process runs.
BUSY_S = 12
PATIENCE_S = 90.0

SERVICE = f"""
import ctypes, os
from pathlib import Path
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery

@kaufmann.on("order.busy", batch=1)
def busy(event):
    with Path("runs").open("a") as file:
        file.write(f"{{event.payload['id']}} {{os.getpid()}} {{event.attempt}}\\n")
    ctypes.PyDLL(None).sleep({BUSY_S})
    return Output("busy.handled", {{"id": event.payload["id"]}}, format="json")
"""


@pytest.fixture
def busy(tmp_path: Path, stack: dict[str, str], request: pytest.FixtureRequest) -> Iterator[tuple[Scene, Commands]]:
    settings = {"lease": str(getattr(request, "param", LEASE_S))}
    with (
        scene(tmp_path, stack, SERVICE, name="busy", schemas={"order.busy": GOOD}, settings=settings) as one,
        commands(one) as typed,
    ):
        typed.start_service("-P", "prefork", "-c", "2", "-l", "INFO")
        one.handled(*send_good(one, 2), name="good.handled", timeout_s=PATIENCE_S)
        yield one, typed


def sends(one: Scene) -> str:
    name = unique("busy")
    one.send(b"order.busy", avro(GOOD, {"id": name}))
    return name


def begun(typed: Commands, times: int = 1) -> int:
    """Wait for the handler to have been called so often; return the process id of the last."""
    eventually(lambda: len(typed.notes()) >= times, f"{times} runs", PATIENCE_S)
    return int(typed.notes()[-1].split()[1])


def handled_once(one: Scene, name: str) -> None:
    one.handled(name, name="busy.handled", timeout_s=PATIENCE_S)
    one.kafka.await_all_committed(one.name, one.name, PATIENCE_S)
    written = Counter(found.key for found in one.kafka.read(one.out))
    assert written[b"busy.handled"] == 1
    assert not [key for key in written if (key or b"").startswith(b"event.error")]


def test_a_handler_that_holds_the_gil_for_four_leases_runs_once(busy: tuple[Scene, Commands]) -> None:
    one, typed = busy
    name = sends(one)

    handled_once(one, name)

    assert [note.split()[2] for note in typed.notes()] == ["1"]


@pytest.mark.parametrize("busy", [120.0], indirect=True)
def test_a_child_that_is_killed_meanwhile_is_told_of_at_once(busy: tuple[Scene, Commands]) -> None:
    one, typed = busy
    name = sends(one)

    os.kill(begun(typed), signal.SIGKILL)

    # Long before its lease ends.
    handled_once(one, name)
    assert [note.split()[2] for note in typed.notes()] == ["1", "2"]


def is_taken_over(busy: tuple[Scene, Commands], name: str, first: int, second: int) -> None:
    """Check that the event ran in *first*, then in *second*, and that only the second's report counts."""
    one, typed = busy
    handled_once(one, name)
    assert second != first
    assert len(typed.notes()) == 2
    eventually(lambda: "taken over by another run" in typed.log("worker"), "the first run's report is dropped")


def test_a_child_that_stands_still_is_not_vouched_for(busy: tuple[Scene, Commands]) -> None:
    one, typed = busy
    name = sends(one)
    first = begun(typed)
    os.kill(first, signal.SIGSTOP)
    try:
        second = begun(typed, 2)
    finally:
        os.kill(first, signal.SIGCONT)

    is_taken_over(busy, name, first, second)


def test_a_main_process_that_stood_still_does_not_get_back_what_was_given_away(busy: tuple[Scene, Commands]) -> None:
    one, typed = busy
    name = sends(one)
    first = begun(typed)
    main = typed.pid("worker")
    os.kill(main, signal.SIGSTOP)
    try:
        typed.start("other", *WORKER, "-P", "prefork", "-c", "1", "-l", "INFO", "-n", "other")
        second = begun(typed, 2)
    finally:
        os.kill(main, signal.SIGCONT)

    is_taken_over(busy, name, first, second)


def test_a_child_that_died_while_its_main_process_stood_still_is_made_good(busy: tuple[Scene, Commands]) -> None:
    one, typed = busy
    name = sends(one)
    first = begun(typed)
    main = typed.pid("worker")
    os.kill(main, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    os.kill(main, signal.SIGCONT)

    handled_once(one, name)
    assert len(typed.notes()) == 2
