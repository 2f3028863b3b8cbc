"""What is in an event stays out of the logs of ingester and worker, and out of what Celery shows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery

from kaufmann_celery.event import Position
from tests.integration.scene import MEBIBYTE, Scene, avro, scene
from tests.integration.service_process import ROLES, eventually, unique

ASKED = {"type": "record", "name": "spill.asked", "fields": [{"name": "id", "type": "string"}]}
NAMES = ("handled", "raises", "retried", "misfit", "extra", "refused", "large", "told_badly", "holds")
SERVICE = """
import time
from pathlib import Path

from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


@kaufmann.on("spill.handled")
def handled(event):
    return Output("bad.handled", {"id": event.payload["id"]}, format="json")


@kaufmann.on("spill.raises", "spill.told_badly")
def raises(event):
    raise ValueError("no luck")


@kaufmann.on("spill.retried", max_retries=1, retry_backoff=0.1)
def retried(event):
    raise ValueError("no luck")


@kaufmann.on("spill.misfit")
def misfit(event):
    return ("spill.raises", {"id": [event.payload["id"]]})


@kaufmann.on("spill.extra")
def extra(event):
    return ("spill.raises", {**event.payload, "more": event.payload["id"]})


@kaufmann.on("spill.refused")
def refused(event):
    return Output("spill.raises", event.payload, topic="NAME.missing")


@kaufmann.on("spill.large")
def large(event):
    return ("spill.raises", {"id": event.payload["id"] * 100_000})


@kaufmann.on("spill.holds")
def holds(event):
    with Path("runs").open("a") as file:
        file.write("holds\\n")
    deadline = time.monotonic() + 60
    while not Path("go on").exists() and time.monotonic() < deadline:
        time.sleep(0.05)


@kaufmann.on_error("spill.told_badly")
def told_badly(error):
    raise RuntimeError("no luck with errors")
"""


@pytest.fixture(scope="module")
def spill(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    schemas = {f"spill.{name}": ASKED for name in NAMES}
    with scene(tmp_path_factory.mktemp("secrets"), stack, SERVICE, name="secrets", schemas=schemas) as one:
        one.service.loglevel = "DEBUG"
        one.service.start()
        one.handles_what_follows()
        yield one


@pytest.fixture(scope="module")
def shown(spill: Scene) -> Iterator[list[dict[str, Any]]]:
    """What Flower hears: every event of this service's worker."""
    with _celery(spill) as app, app.connection_for_read() as connection:
        heard: list[dict[str, Any]] = []
        receiver = app.events.Receiver(connection, handlers={"*": heard.append})
        thread = threading.Thread(target=receiver.capture, kwargs={"limit": None, "wakeup": True}, daemon=True)
        thread.start()
        eventually(lambda: any(one["type"] == "worker-heartbeat" for one in heard), "the worker is heard")
        yield heard
        receiver.should_stop = True
        thread.join(10)


CANARY = unique("canary")


def spilled(spill: Scene, what: str, value: bytes) -> Position:
    """Send a record that says the canary wherever a record can."""
    meta = json.dumps({"callback_id": CANARY, "emitter_service": CANARY})
    headers = [("trace", CANARY.encode()), ("kaufmann-meta", meta.encode())]
    return spill.send(f"spill.{what}#{CANARY}".encode(), value, headers)


@pytest.mark.parametrize(
    ("what", "error_type", "attempts"),
    [
        ("raises", "ValueError", 1),
        ("retried", "ValueError", 2),
        ("misfit", "EncodeError", 1),
        ("extra", "EncodeError", 1),
        ("refused", "RefusedForGood", 1),
        ("large", "EventTooLarge", 1),
        ("told_badly", "ValueError", 1),
    ],
)
def test_a_failing_event_is_in_its_error_event_and_nowhere_else(
    spill: Scene, shown: list[dict[str, Any]], what: str, error_type: str, attempts: int
) -> None:
    position = spilled(spill, what, avro(ASKED, {"id": CANARY}))

    found = spill.one_error_event(position, name=f"spill.{what}", error_type=error_type, attempts=attempts)

    assert CANARY in spill.payload_of(found)["message_payload"]
    assert CANARY.encode() not in (found.header["kaufmann-error-message"] or b"")
    check_nothing_is_spilled(spill, shown)


def test_a_handled_event_is_shown_by_name_and_position_alone(spill: Scene, shown: list[dict[str, Any]]) -> None:
    position = spilled(spill, "handled", avro(ASKED, {"id": CANARY}))

    spill.handled(CANARY)

    eventually(lambda: any(str(position) in one.get("args", "") for one in shown), "Celery shows the position")
    check_nothing_is_spilled(spill, shown)


@pytest.mark.parametrize(
    "value",
    [
        avro(ASKED, {"id": CANARY})[:-1],
        avro(ASKED, {"id": CANARY * (MEBIBYTE // 8)}),
        b"\0\xff\xff\xff\xff" + CANARY.encode(),
    ],
    ids=["truncated", "large", "prefixed"],
)
def test_a_record_that_cannot_be_read_is_in_no_log(spill: Scene, shown: list[dict[str, Any]], value: bytes) -> None:
    for what in ("raises", "told_badly"):
        found = spill.error_events(spilled(spill, what, value))
        assert len(found) == 1

    check_nothing_is_spilled(spill, shown)


def test_inspect_shows_a_running_event_by_name_and_position_alone(spill: Scene, shown: list[dict[str, Any]]) -> None:
    position = spilled(spill, "holds", avro(ASKED, {"id": CANARY}))
    eventually(lambda: "holds" in spill.service.runs(), "the handler runs")
    with _celery(spill) as app:
        inspect = app.control.inspect(timeout=3.0)
        active = [tasks for name, tasks in (inspect.active() or {}).items() if name.startswith(spill.name)]
        (task,) = active[0]
        by_id = inspect.query_task([task["id"]])
    (spill.service.directory / "go on").touch()

    assert str(position) in task["args"]
    assert CANARY not in str([task, by_id])
    spill.handles_what_follows()
    check_nothing_is_spilled(spill, shown)


def check_nothing_is_spilled(spill: Scene, shown: list[dict[str, Any]]) -> None:
    for role in ROLES:
        lines = [line for line in spill.service.log(role).splitlines() if CANARY in line]
        assert lines == [], role
    assert [one for one in shown if CANARY in str(one)] == []


@contextmanager
def _celery(spill: Scene) -> Iterator[Celery]:
    app = Celery("bystander", broker=spill.service.env["KAUFMANN_REDIS_URL"], set_as_current=False)
    app.conf.update(control_exchange=f"kaufmann.{spill.name}.control", event_exchange=f"kaufmann.{spill.name}.events")
    try:
        yield app
    finally:
        app.close()
