"""Commits beyond the end of a log: a tool moved them there, or Kafka lost records. What is written then runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import OffsetAndMetadata, TopicPartition

from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.own_services import OwnServices
from tests.integration.service_process import eventually

_CUT = re.compile(r"offsets of \S+:0 below (\d+) are committed, but its log ends at (\d+): .*; going on at (\d+)")


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Kafka is."""
    return tmp_path_factory.mktemp("kafka")


@pytest.fixture
def own(directory: Path) -> Iterator[OwnServices]:
    with OwnServices(directory, "kafka") as one:
        yield one


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path, own: OwnServices) -> Iterator[Jobs]:
    with jobs(tmp_path, {**stack, **own.settings}, name="cut") as one:
        yield one


def says(service: Jobs, label: str) -> tuple[int, ...]:
    """Wait until an ingester says that a log was cut; return its numbers."""
    eventually(lambda: _CUT.search(service.typed.log(label)), "it says so", RECOVERY_S, service.typed.has_died)
    # It may be said again after the rebalance that makes another generation.
    (numbers,) = set(_CUT.findall(service.typed.log(label)))
    return tuple(map(int, numbers))


def test_after_a_tool_moved_the_offset_beyond_the_end_it_goes_on_there(service: Jobs) -> None:
    old = service.ask(20, partition=0)
    service.worker()
    service.ingester()
    service.done(*old)
    service.typed.stop("ingester")
    moved = {TopicPartition(service.name, 0): OffsetAndMetadata(1000, "", -1)}
    service.scene.kafka.move_offsets(service.name, moved)
    service.ingester("second")

    assert says(service, "second") == (1000, 20, 20)
    new = service.ask(20, partition=0)
    service.done(*new)
    service.ran_once(*old, *new)


@pytest.mark.parametrize("ingester", ["stopped", "running", "killed"])
def test_after_kafka_lost_records_those_that_get_their_offsets_run(
    service: Jobs, own: OwnServices, directory: Path, ingester: str
) -> None:
    old = service.ask(40, partition=0)
    service.ask(1, "until go", partition=0)
    behind = service.ask(9, partition=0)
    service.worker()
    service.ingester()
    service.scene.handled(*old, *behind, name="job.done", timeout_s=RECOVERY_S)
    last = service.positions[behind[-1]].offset
    eventually(lambda: (held := service.commit(0)) and held.holds(last), "all but one are committed", RECOVERY_S)
    if ingester != "running":
        (service.typed.kill if ingester == "killed" else service.typed.stop)("ingester")
    service.scene.kafka.disconnect()
    with own.away("kafka"):
        for file in (directory / "kafka" / "data" / f"{service.name}-0").iterdir():
            if file.suffix in (".log", ".index", ".timeindex", ".snapshot"):
                file.unlink()
    if ingester != "running":
        service.ingester()

    assert says(service, "ingester") == (50, 0, 0)
    (service.typed.directory / "go").touch()
    new = service.ask(60, partition=0)
    service.scene.handled(*new, name="job.done", timeout_s=RECOVERY_S)
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)
    service.ran_once(*old, *behind, *new)
