"""A topic whose leader is away holds up the events that write to it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.own_services import OwnServices
from tests.integration.second_broker import SecondBroker
from tests.integration.service_process import eventually

_MAX_DEMAND = 20
#: Seconds in which others must be finished: half of what a round used to wait for all acknowledgements.
_SOON_S = 15.0


@dataclass(frozen=True)
class Scene:
    """A service whose error events go to a topic that the second broker leads."""

    jobs: Jobs
    second: SecondBroker

    @property
    def errors(self) -> str:
        return f"{self.jobs.name}.errors"

    def are_finished(self, ids: list[str]) -> bool:
        """Return whether Kafka holds each of *ids* as finished."""
        commits = {partition: self.jobs.commit(partition) for partition in (0, 1)}
        at = [self.jobs.positions[one] for one in ids]
        return all((held := commits[one.partition]) is not None and held.holds(one.offset) for one in at)

    def are_soon_finished(self, ids: list[str]) -> None:
        eventually(lambda: self.are_finished(ids), "they are finished", _SOON_S, self.jobs.typed.has_died)

    def says(self, what: str, label: str = "ingester", timeout_s: float = RECOVERY_S) -> None:
        typed = self.jobs.typed
        eventually(lambda: what in typed.log(label), f"{label} says {what!r}", timeout_s, typed.has_died)


@pytest.fixture
def scene(stack: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    first = tmp_path_factory.mktemp("first")
    settings = {"max_demand": str(_MAX_DEMAND), "commit_interval": "0.1", "error_topic": "NAME.errors"}
    with (
        OwnServices(first, "kafka") as own,
        jobs(tmp_path, {**stack, **own.settings}, name="unwritable", settings=settings) as service,
    ):
        # Before the other joins: it is to lead nothing but its topic.
        done = service.ask(2)
        service.worker()
        service.ingester()
        service.done(*done)
        directory = tmp_path_factory.mktemp("second")
        with SecondBroker(first / "kafka", own.settings["KAUFMANN_BROKERS"], directory) as second:
            one = Scene(service, second)
            second.create(one.errors)
            yield one
            # Its ingesters end while both brokers are there.
            service.typed.stop()


def away(second: SecondBroker) -> AbstractContextManager[None]:
    return second.away()


def frozen(second: SecondBroker) -> AbstractContextManager[None]:
    return second.frozen()


@pytest.mark.parametrize("gone", [away, frozen])
def test_others_are_finished_and_partitions_move_while_error_events_wait(scene: Scene, gone: object) -> None:
    assert callable(gone)
    service = scene.jobs
    with gone(scene.second):
        failing = service.ask(_MAX_DEMAND // 2, "fail")
        service.await_runs(failing, len(failing))
        others = service.ask(200)
        service.scene.handled(*others, name="job.done", timeout_s=RECOVERY_S)
        scene.are_soon_finished(others)

        service.ingester("second")
        scene.says("assigned", "second", _SOON_S)
        more = service.ask(100)
        service.scene.handled(*more, name="job.done", timeout_s=RECOVERY_S)
        scene.are_soon_finished(more)
        assert not any(scene.are_finished([one]) for one in failing)

    at = {service.positions[one] for one in failing}
    found = service.scene.kafka.await_records(
        scene.errors, lambda one: one.original in at, count=len(at), timeout_s=RECOVERY_S
    )
    assert sorted(str(one.original) for one in found) == sorted(map(str, at))
    service.done(*others, *more)
    service.ran_once(*others, *more)
    assert set(service.ran(*failing).values()) == {1}


def test_what_waits_for_long_is_said_with_its_topic_and_so_is_its_end(scene: Scene) -> None:
    with scene.second.away():
        scene.jobs.ask(1, "fail")
        scene.says(f"Kafka does not acknowledge what is sent to {scene.errors}")
        assert "all services answer again" not in scene.jobs.typed.log("ingester")
    scene.says("all services answer again")
    scene.jobs.scene.kafka.await_all_committed(scene.jobs.name, scene.jobs.name, RECOVERY_S)
