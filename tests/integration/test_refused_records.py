"""A record that Kafka refuses for good, among others of its event and its round: the others are published."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.kafka_topics import Bystander

_UNDECODABLE = b"\xff"


@pytest.fixture(params=["at_least_once", "exactly_once"])
def service(request: pytest.FixtureRequest, stack: dict[str, str], tmp_path: Path) -> Iterator[Jobs]:
    settings = {"delivery": request.param, "dead_letter_topic": "NAME.compacted"}
    with jobs(tmp_path, stack, name="refused", settings=settings) as one:
        one.scene.kafka.create(f"{one.name}.compacted", 1, cleanup_policy="compact")
        yield one


def test_of_dead_letters_that_a_compacted_topic_refuses_the_error_events_are_published(
    service: Jobs, stack: dict[str, str]
) -> None:
    """It refuses records without key, and answers for those of their batch too."""
    name = [("ce_type", b"job.asked")]
    keyless = [service.scene.send(None, _UNDECODABLE, name, partition=at % 2) for at in range(6)]
    keyed = [service.scene.send(b"job.asked", _UNDECODABLE, partition=at % 2) for at in range(6)]
    ids = service.ask(20)
    service.worker()
    service.ingester()
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)

    with Bystander(stack["KAUFMANN_BROKERS"], "read_committed") as reader:
        out, letters = reader.read(service.scene.out), reader.read(f"{service.name}.compacted")
    assert sorted(str(one.original) for one in out if one.original) == sorted(map(str, [*keyless, *keyed]))
    assert sorted(str(one.original) for one in letters) == sorted(map(str, keyed))
    assert {one.value for one in letters} == {_UNDECODABLE}
    assert len([one for one in out if one.key == b"job.done"]) == len(ids)
    service.ran_once(*ids)
    assert "dead_letter of" in service.typed.log("ingester")
