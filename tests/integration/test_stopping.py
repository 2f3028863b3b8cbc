"""SIGTERM ends an ingester within `shutdown_timeout`, whatever is away then, and nothing is lost or repeated by it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from kaufmann_celery.event import Position
from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.kafka_topics import Bystander
from tests.integration.own_services import OwnServices
from tests.integration.service_process import eventually

#: Seconds from the signal until the process is gone. `shutdown_timeout` is 4; honcho kills after 5.
_GONE_S = 5.0
ANYWHERE = Position("", 0, 0)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServices]:
    with OwnServices(tmp_path_factory.mktemp("own"), "kafka", "redis") as one:
        yield one


@pytest.fixture
def delivery() -> str:
    return "at_least_once"


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path, own: OwnServices, delivery: str) -> Iterator[Jobs]:
    with jobs(tmp_path, {**stack, **own.settings}, name="stop", settings={"delivery": delivery}) as one:
        yield one


def stop(service: Jobs, label: str = "ingester") -> float:
    """Send SIGTERM; return how many seconds the process then took to exit with 0."""
    signalled = time.monotonic()
    service.typed.send_signal(label, signal.SIGTERM)
    assert service.typed.exit_code(label) == 0
    return time.monotonic() - signalled


def done_once(service: Jobs, own: OwnServices, ids: list[str]) -> None:
    """Wait until all is committed; check that each job ran once and is answered.

    An answer may be there twice, and is the same twice; who reads exactly once sees none twice.
    """
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)
    service.ran_once(*ids)
    with Bystander(own.settings["KAUFMANN_BROKERS"], "read_committed") as reader:
        found = [one for one in reader.read(service.scene.out) if one.key == b"job.done"]
    answers = {json.loads(one.value or b"")["id"]: replace(one, position=ANYWHERE) for one in found}
    assert answers.keys() == set(ids)
    assert {replace(one, position=ANYWHERE) for one in found} == set(answers.values())
    if service.typed.env["KAUFMANN_DELIVERY"] == "exactly_once":
        assert len(found) == len(ids)


@pytest.mark.parametrize("how", ["frozen", "killed"])
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(("kafka",), id="kafka"),
        pytest.param(("redis",), id="redis"),
        pytest.param(("kafka", "redis"), id="kafka-and-redis", marks=pytest.mark.soak),
    ],
)
@pytest.mark.parametrize(
    ("delivery", "since_s"),
    [
        ("at_least_once", 0.0),
        pytest.param("at_least_once", 3.0, marks=pytest.mark.soak),
        pytest.param("exactly_once", 0.0, marks=pytest.mark.soak),
        pytest.param("exactly_once", 3.0, marks=pytest.mark.soak),
    ],
)
def test_while_services_are_away(
    service: Jobs, own: OwnServices, parts: tuple[str, ...], how: str, since_s: float
) -> None:
    ids = service.ask(400, "sleep 0.01")
    service.worker()
    service.ingester()
    service.await_runs(ids, 100)
    service.scene.kafka.disconnect()
    with ExitStack() as away:
        for part in parts:
            away.enter_context(getattr(own, how)(part))
        until = time.monotonic() + since_s
        eventually(lambda: time.monotonic() >= until, "time passes")
        assert stop(service) < _GONE_S
    service.ingester("second")
    done_once(service, own, ids)


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_while_all_answer(service: Jobs, own: OwnServices) -> None:
    ids = service.ask(400, "sleep 0.01")
    service.worker()
    service.ingester()
    service.await_runs(ids, 100)
    assert stop(service) < _GONE_S
    service.ingester("second")
    done_once(service, own, ids)
