"""G1: retention removes records that are not finished. Each of their events ends, or the log says that it is gone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaufmann_celery.event import Position
from tests.integration.jobs import RECOVERY_S, SERVICE, Jobs, jobs
from tests.integration.kafka_topics import Bystander, Found
from tests.integration.service_process import eventually

#: One event per task: what waits in the queue has not begun.
_ALONE = SERVICE.replace('@kaufmann.on("job.asked")', '@kaufmann.on("job.asked", batch=1)')


@pytest.fixture(params=["at_least_once", "exactly_once"])
def service(request: pytest.FixtureRequest, stack: dict[str, str], tmp_path: Path) -> Iterator[Jobs]:
    settings = {"max_demand": "20", "delivery": request.param}
    with jobs(tmp_path, stack, _ALONE, name="retention", settings=settings) as one:
        yield one


@pytest.fixture
def reader(stack: dict[str, str]) -> Iterator[Bystander]:
    """Reads what is committed."""
    with Bystander(stack["KAUFMANN_BROKERS"], "read_committed") as one:
        yield one


def error_event_of(position: Position) -> Callable[[Found], bool]:
    return lambda found: found.key == b"event.error.unknown" and found.original == position


def answers(service: Jobs, reader: Bystander) -> list[str]:
    return [json.loads(one.value or b"")["id"] for one in reader.read(service.scene.out) if one.key == b"job.done"]


@pytest.mark.parametrize("when", ["while-it-lives", "after-its-death"])
def test_what_was_taken_and_is_gone_is_adopted_all_the_same(service: Jobs, reader: Bystander, when: str) -> None:
    """Its outcome is settled, its run ends; what had neither becomes an error event without payload."""
    (reports,) = service.ask(1, "until early", partition=0)
    (runs,) = service.ask(1, "until late", partition=0)
    queued = service.ask(8, "until late", partition=0)
    end = service.positions[queued[-1]].offset + 1
    service.worker()
    service.ingester()
    service.await_runs([reports, runs], 2)
    # A commit names its ledger before anything is claimed.
    eventually(lambda: service.commit(0) is not None, "the ledger is known to Kafka")
    if when == "while-it-lives":
        service.scene.kafka.delete_before(service.name, 0, end)
    service.typed.kill("ingester")
    if when == "after-its-death":
        service.scene.kafka.delete_before(service.name, 0, end)
    (service.typed.directory / "early").touch()
    service.await_runs(queued, 1)

    service.ingester("second")
    begun = [one for one in queued if service.ran(one)[one]]
    gone = [one for one in queued if one not in begun]
    assert len(begun) == 1
    for one in gone:
        wanted = error_event_of(service.positions[one])
        (found,) = reader.await_records(service.scene.out, wanted, timeout_s=RECOVERY_S)
        assert service.scene.payload_of(found)["message_payload"] is None
        assert found.header["kaufmann-error-type"] == b"DecodeError"
        assert b"the record is gone" in (found.header["kaufmann-error-message"] or b"")
    (service.typed.directory / "late").touch()
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)
    assert sorted(answers(service, reader)) == sorted([reports, runs, *begun])
    assert len([one for one in reader.read(service.scene.out) if one.original]) == len(gone)
    service.ran_once(reports, runs, *begun)
    assert set(service.ran(*gone).values()) == {0}
    more = service.ask(4)
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)
    service.ran_once(*more)
