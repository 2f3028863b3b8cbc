"""G1: Kafka alone is enough. Redis emptied, topics made anew, offsets moved by others: every event ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
import redis
from kafka import OffsetAndMetadata, TopicPartition

from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.kafka_topics import Bystander
from tests.integration.own_services import OwnServices
from tests.integration.service_process import eventually

_MAX_DEMAND = 20


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnServices]:
    with OwnServices(tmp_path_factory.mktemp("redis"), "redis") as one:
        yield one


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path, own: OwnServices) -> Iterator[Jobs]:
    settings = {"max_demand": str(_MAX_DEMAND)}
    with jobs(tmp_path, {**stack, **own.settings}, name="g1", settings=settings) as one:
        yield one


def flushed(own: OwnServices) -> AbstractContextManager[None]:
    with redis.Redis.from_url(own.settings["KAUFMANN_REDIS_URL"]) as client:
        client.flushall()
    return nullcontext()


@pytest.mark.parametrize("ingester_dies", [False, True], ids=["ingester-lives", "ingester-killed"])
@pytest.mark.parametrize(
    "empty", [flushed, lambda own: own.away("redis", empties=True)], ids=["flushed", "restarted-empty"]
)
def test_after_redis_lost_everything_all_is_rebuilt_from_kafka(
    service: Jobs, own: OwnServices, empty: Callable[[OwnServices], AbstractContextManager[None]], ingester_dies: bool
) -> None:
    ids = service.ask(400, "sleep 0.05")
    service.worker()
    service.ingester()
    service.await_runs(ids, 100)
    kafka = service.scene.kafka
    if ingester_dies:
        service.typed.kill("ingester")
    # What Kafka holds as finished, and while the ingester lives what it has published, never runs again.
    finished = {
        one for one, at in service.positions.items() if (held := service.commit(at.partition)) and held.holds(at.offset)
    }
    if not ingester_dies:
        finished |= {json.loads(one.value or b"")["id"] for one in kafka.read(service.scene.out)}
    with empty(own):
        pass
    if ingester_dies:
        service.ingester("second")
    kafka.await_all_committed(service.name, service.name, RECOVERY_S)

    runs = service.ran(*ids)
    again = {one for one, times in runs.items() if times > 1}
    assert set(service.ran(*ids, word="end").values()) <= {1, 2}
    assert min(runs.values()) == 1
    assert again.isdisjoint(finished)
    if not ingester_dies:
        assert len(again) <= _MAX_DEMAND
    assert {json.loads(one.value or b"")["id"] for one in kafka.read(service.scene.out)} == set(ids)


@pytest.mark.parametrize("ingester", ["stopped", "running", "looks-away"])
def test_all_events_of_a_topic_that_was_made_anew_run(service: Jobs, ingester: str) -> None:
    """Same name, same offsets, another topic; the group exists all the while."""
    # With as many partitions as the broker gives a topic that a consumer asks for: then only its UUID is another.
    service.scene.kafka.create_anew(service.name, 4)
    old = service.ask(60)
    service.worker()
    service.ingester()
    service.done(*old)
    if ingester == "stopped":
        service.typed.stop("ingester")
    with service.typed.frozen("ingester") if ingester == "looks-away" else nullcontext():
        service.scene.kafka.create_anew(service.name, 4)
        new = service.ask(40)
    if ingester == "stopped":
        service.ingester()
    service.scene.handled(*new, name="job.done", timeout_s=RECOVERY_S)
    later = service.ask(60)
    service.done(*new, *later)
    service.ran_once(*old, *new, *later)


@pytest.mark.parametrize("metadata", ["", "moved by hand", "kc1.0123456789ab.dgAAAAAA"], ids=["none", "text", "ours"])
def test_where_offsets_were_moved_by_another_tool_all_from_there_on_runs(service: Jobs, metadata: str) -> None:
    """The ledger still knows what was finished, by its marks; and it is another history's."""
    ids = service.ask(40)
    service.worker()
    service.ingester()
    service.done(*ids)
    service.typed.stop("ingester")
    moved = {0: 5, 1: 12}
    offsets = {TopicPartition(service.name, at): OffsetAndMetadata(to, metadata, -1) for at, to in moved.items()}
    service.scene.kafka.move_offsets(service.name, offsets)
    service.ingester()
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)
    more = service.ask(10)
    service.done(*more)

    at = {one: service.positions[one] for one in ids}
    assert service.ran(*ids) == {one: 2 if at[one].offset >= moved[at[one].partition] else 1 for one in ids}
    service.ran_once(*more)


def test_offsets_moved_ahead_in_the_middle_of_work_leave_nothing_behind_that_runs(
    service: Jobs, own: OwnServices
) -> None:
    ids = service.ask(40, "until go", partition=0)
    service.worker()
    service.ingester()
    service.await_runs(ids, 2)
    service.typed.kill("ingester")
    ahead = {TopicPartition(service.name, 0): OffsetAndMetadata(30, "", -1)}
    service.scene.kafka.move_offsets(service.name, ahead)
    service.ingester("second")
    with redis.Redis.from_url(own.settings["KAUFMANN_REDIS_URL"]) as client:
        eventually(
            lambda: any(client.hexists(key, "30") for key in client.keys("kaufmann:*:claims")),
            "it goes on at 30", RECOVERY_S, service.typed.has_died,
        )  # fmt: skip
    (service.typed.directory / "go").touch()
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)

    ran = service.ran(*ids)
    assert all(ran[one] == 1 for one in ids[30:])
    # What was sent before and not begun is of a history that is over.
    assert sum(ran[one] for one in ids[:30]) == 2


def test_two_environments_on_one_redis_keep_apart_by_their_prefix(service: Jobs) -> None:
    """Same service, same topic; another group, and another prefix."""
    other = {"KAUFMANN_REDIS_PREFIX": "staging", "KAUFMANN_CONSUMER_GROUP": f"{service.name}.2", "RUNS": "runs-2"}
    service.worker()
    service.worker("worker-2", 2, **other)
    service.ingester()
    service.ingester("ingester-2", **other)
    ids = service.ask(200, "sleep 0.005")
    for group in (service.name, f"{service.name}.2"):
        service.scene.kafka.await_all_committed(group, service.name, RECOVERY_S)

    assert sorted(run.id for run in service.runs()) == sorted(ids)
    assert sorted(run.id for run in service.runs(journal="runs-2")) == sorted(ids)


def test_one_service_in_two_groups_handles_each_event_once_for_each(service: Jobs) -> None:
    """Same Redis, same prefix, same workers."""
    service.worker()
    service.ingester()
    service.ingester("ingester-2", KAUFMANN_CONSUMER_GROUP=f"{service.name}.2")
    ids = service.ask(200, "sleep 0.005")
    for group in (service.name, f"{service.name}.2"):
        service.scene.kafka.await_all_committed(group, service.name, RECOVERY_S)

    assert service.ran(*ids) == dict.fromkeys(ids, 2)


def test_one_service_on_two_clusters_handles_the_events_of_each(
    service: Jobs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Same Redis, same names everywhere, same offsets."""
    with OwnServices(tmp_path_factory.mktemp("kafka"), "kafka") as second:
        brokers = second.settings["KAUFMANN_BROKERS"]
        with Bystander(brokers) as kafka:
            for topic in (service.name, service.scene.out, service.scene.dead):
                kafka.create(topic)
            here = service.ask(100, "sleep 0.005")
            there = Jobs(service.scene.on(kafka), service.typed)
            other = there.ask(100, "sleep 0.005")
            service.worker()
            service.ingester()
            service.ingester("ingester-2", KAUFMANN_BROKERS=brokers)
            service.done(*here)
            there.done(*other)
            service.ran_once(*here, *other)
            service.typed.stop("ingester-2")
