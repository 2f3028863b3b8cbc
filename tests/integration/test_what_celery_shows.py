"""What Celery's own tools show of a service: inspect, Flower, and the logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from kaufmann_celery.event import Position
from tests.integration.free_ports import free_ports
from tests.integration.scene import GOOD, Scene, avro, scene
from tests.integration.service_process import eventually, unique
from tests.integration.user_commands import ONE_WORKER, Commands, commands

pytest.importorskip("flower")

CANARY = "canary-3f9a"
SERVICE = """
import time
from pathlib import Path
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery

class NotInStock(Exception):
    pass

@kaufmann.on("order.placed")
def confirm(event):
    return Output("order.confirmed", event.payload, format="json")

@kaufmann.on("order.failing")
def the_failing_handler(event):
    raise NotInStock("there is none")

@kaufmann.on_error("order.placed")
def regret(error):
    ...

@kaufmann.on("order.retried", max_retries=1, retry_backoff=0.1)
def try_again(event):
    if event.attempt == 1:
        raise NotInStock("there is none yet")

@kaufmann.on("order.waiting", queue="waiting.NAME")
def wait(event):
    while not Path("go").exists():
        time.sleep(0.05)

@kaufmann.on("stock.*")
def stock(event):
    ...
"""


class Flower:
    """Flower's HTTP API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"
        #: Every answer so far.
        self.texts: list[str] = []

    def get(self, path: str) -> Any:
        """Return the JSON at *path*; None while Flower does not answer."""
        try:
            answer = requests.get(self._url + path, timeout=10)
        except requests.ConnectionError:
            return None
        self.texts.append(answer.text)
        return answer.json() if answer.ok else None

    def task(self, task_id: str, state: str) -> dict[str, Any]:
        """Wait until Flower lists the task in *state*."""
        found: dict[str, Any] = {}

        def listed() -> bool:
            found.update((self.get("/api/tasks") or {}).get(task_id, {}))
            return bool(found.get("state") == state)

        eventually(listed, f"Flower lists {task_id} as {state}")
        return found


@pytest.fixture(scope="module")
def shown(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, Commands, Flower]]:
    schemas = {f"order.{name}": GOOD for name in ("placed", "failing", "retried", "waiting")}
    with (
        scene(tmp_path_factory.mktemp("shown"), stack, SERVICE, name="shown", schemas=schemas) as one,
        commands(one) as typed,
    ):
        (port,) = free_ports(1)
        typed.start_service("-c", "2")
        flower = Flower(port)
        typed.start(
            "flower", "celery", "-A", "service", "flower", "--address=127.0.0.1", f"--port={port}",
            FLOWER_UNAUTHENTICATED_API="true",
        )  # fmt: skip
        # What ran before Flower had the worker send its events is not listed.
        eventually(lambda: _is_listed(one, flower), "Flower lists what runs", gives_up=typed.has_died)
        yield one, typed, flower


def _is_listed(one: Scene, flower: Flower) -> bool:
    one.send(b"order.placed", avro(GOOD, {"id": CANARY}))
    return bool(flower.get("/api/tasks"))


def send(one: Scene, name: str) -> Position:
    meta = json.dumps({"message_id": unique("message")}).encode()
    return one.send(name.encode(), avro(GOOD, {"id": f"{CANARY} {unique('order')}"}), [("kaufmann-meta", meta)])


def test_inspect_lists_one_task_per_name(shown: tuple[Scene, Commands, Flower]) -> None:
    _, typed, _ = shown

    listed = typed.run("celery", "-A", "service", "inspect", *ONE_WORKER, "registered")

    assert listed.returncode == 0, listed.stderr
    lines = {line.strip().removeprefix("* ") for line in listed.stdout.splitlines()}
    assert {"event:order.placed", "event:order.failing", "event:order.waiting", "event:stock.*"} <= lines


def test_flower_lists_a_handled_event_by_name_id_and_position(shown: tuple[Scene, Commands, Flower]) -> None:
    one, _, flower = shown
    position = send(one, "order.placed")

    task = flower.task(f"order.placed@{position}.1", "SUCCESS")

    assert task["name"] == "event:order.placed"
    assert task["result"] == "'1 handled'"
    assert "order.placed" in task["args"]
    assert "message-" in task["args"]
    assert str(position) in task["args"]
    assert task["kwargs"] == "{}"


def test_flower_says_of_a_record_that_on_error_was_told_of_that_it_was_not_handled(
    shown: tuple[Scene, Commands, Flower],
) -> None:
    one, _, flower = shown
    position = one.send(b"order.placed", b"\xff")

    assert flower.task(f"order.placed@{position}.1", "SUCCESS")["result"] == "'1 handed to on_error'"


def test_flower_says_of_an_event_that_waits_for_its_retry_that_it_runs_again(
    shown: tuple[Scene, Commands, Flower],
) -> None:
    one, _, flower = shown
    position = send(one, "order.retried")

    assert flower.task(f"order.retried@{position}.1", "SUCCESS")["result"] == "'1 to run again'"
    assert flower.task(f"order.retried@{position}.2", "SUCCESS")["result"] == "'1 handled'"


def test_flower_lists_a_failed_event_as_failure_with_the_handlers_traceback(
    shown: tuple[Scene, Commands, Flower],
) -> None:
    one, _, flower = shown
    position = send(one, "order.failing")

    task = flower.task(f"order.failing@{position}.1", "FAILURE")

    assert task["name"] == "event:order.failing"
    assert "NotInStock" in task["exception"]
    assert "in the_failing_handler" in task["traceback"]
    assert "service.py" in task["traceback"]


def test_flower_and_inspect_never_show_a_payload(shown: tuple[Scene, Commands, Flower]) -> None:
    one, typed, flower = shown
    # Two run, the third is reserved by the worker.
    waiting = [f"order.waiting@{send(one, 'order.waiting')}.1" for _ in range(3)]
    flower.task(waiting[2], "RECEIVED")

    flower.get("/api/workers?refresh=true")
    flower.get(f"/api/task/info/{waiting[0]}")
    inspected = [
        typed.run("celery", "-A", "service", "inspect", *ONE_WORKER, what, "-j").stdout
        for what in ("active", "reserved")
    ]
    (typed.directory / "go").touch()

    one.kafka.await_all_committed(one.name, one.name)
    assert waiting[0] in inspected[0]
    assert waiting[2] in inspected[1]
    assert CANARY not in "".join([*flower.texts, *inspected])


def test_both_logs_name_event_id_and_position_of_a_failed_event_and_no_payload(
    shown: tuple[Scene, Commands, Flower],
) -> None:
    one, typed, _ = shown
    position = send(one, "order.failing")
    one.error_events(position)
    (record,) = [found for found in one.kafka.read(one.name) if found.position == position]
    message_id = json.loads(record.header["kaufmann-meta"] or b"")["message_id"]

    for label in ("worker", "ingester"):
        lines = [line for line in typed.log(label).splitlines() if f"{message_id} at {position}" in line]
        assert any("order.failing" in line and "NotInStock" in line for line in lines), label
        assert CANARY not in typed.log(label)


def test_the_workers_log_has_a_line_for_each_failure_and_a_traceback_for_those_alike(
    shown: tuple[Scene, Commands, Flower],
) -> None:
    one, typed, _ = shown
    since = len(typed.log("worker"))
    positions = [send(one, "order.failing") for _ in range(20)]
    one.handles_what_follows()

    def logged(what: str) -> int:
        return typed.log("worker")[since:].count(what)

    lines = [f" at {position} failed: NotInStock" for position in positions]
    eventually(lambda: all(map(logged, lines)), "every failure is logged")
    assert [logged(line) for line in lines] == [1] * len(lines)
    # Celery's own record, of the task, has that of its first failure.
    eventually(lambda: logged("in the_failing_handler"), "a traceback is logged")
    assert logged("in the_failing_handler") == logged("Traceback (most recent call last)") <= 20
