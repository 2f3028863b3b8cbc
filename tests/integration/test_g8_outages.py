"""A registry, Redis or Kafka that is away for a while is not bad input: the service waits, and loses nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import redis

from kaufmann_celery.event import Position
from tests.integration.own_services import OwnServices
from tests.integration.registry_proxy import FAULTS, Fault, RegistryProxy
from tests.integration.scene import Scene, avro, scene
from tests.integration.service_process import ROLES, Role, eventually, unique

#: Seconds for Kafka's clients to find it again, on a machine that does other things too.
_RECOVERY_S = 90.0

ASKED = {"type": "record", "name": "out.asked", "fields": [{"name": "id", "type": "string"}]}
SERVICE = """
import time
from pathlib import Path

from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


def note(event):
    with Path("runs").open("a") as file:
        file.write(event.payload["id"] + "\\n")


@kaufmann.on("out.*")
def handle(event):
    note(event)
    time.sleep(0.02)
    return Output("bad.handled", {"id": event.payload["id"]}, format="json")


@kaufmann.on("out.silent")
def hear(event):
    note(event)


@kaufmann.on("out.writes")
def write(event):
    note(event)
    return Output(event.payload["id"], {"id": event.payload["id"]})
"""


@dataclass
class Outages:
    """A service whose Kafka and Redis are this module's own, and whose registry is behind a proxy."""

    scene: Scene
    own: OwnServices
    registry: RegistryProxy
    positions: dict[str, Position] = field(default_factory=dict)

    def register(self, *names: str) -> None:
        for name in names:
            self.scene.registry.register(name, ASKED)

    def send(self, name: str, count: int) -> list[str]:
        """Send events of *name* to both partitions; return their ids."""
        ids = [unique(name) for _ in range(count)]
        for number, one in enumerate(ids):
            value = avro(ASKED, {"id": one})
            self.positions[one] = self.scene.send(name.encode(), value, partition=number % 2)
        return ids

    def handled_once(self, ids: list[str]) -> None:
        """Wait until each is answered and committed; check that each ran once and none failed."""
        self.scene.handled(*ids, timeout_s=_RECOVERY_S)
        self.scene.kafka.await_all_committed(self.scene.name, self.scene.name, _RECOVERY_S)
        runs = Counter(self.scene.service.runs())
        assert {one: runs[one] for one in ids if runs[one] != 1} == {}
        failed = {one.original for one in self.scene.kafka.read(self.scene.out)}
        assert failed.isdisjoint(self.positions[one] for one in ids)
        assert not self.scene.service.has_died()

    def waits(self, role: Role, what: str, since: int) -> None:
        """Wait until *role* has logged *what* after its first *since* characters."""
        log = self.scene.service.log
        eventually(lambda: what in log(role)[since:], f"the {role} says {what!r}")

    @contextmanager
    def away(self, part: str) -> Iterator[None]:
        """Stop Redis or Kafka for the length of the block; its data and port stay."""
        self.scene.kafka.disconnect()
        with self.own.away(part):
            yield


@pytest.fixture(scope="module")
def outages(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outages]:
    with (
        OwnServices(tmp_path_factory.mktemp("stack"), "kafka", "redis") as own,
        RegistryProxy(stack["KAUFMANN_SCHEMA_REGISTRY_URL"]) as proxy,
        scene(
            tmp_path_factory.mktemp("outages"), {**stack, **own.settings}, SERVICE, name="outages",
            schemas={"out.asked": ASKED, "out.writes": ASKED, "out.silent": ASKED},
            settings={"schema_registry_url": proxy.url},
        ) as one,
    ):  # fmt: skip
        yield Outages(one, own, proxy)


@pytest.fixture(autouse=True)
def _both_run(outages: Outages) -> None:
    if not any(map(outages.scene.service.is_alive, ROLES)):
        outages.scene.service.start()


def test_with_a_registry_that_is_down_at_start_events_wait(outages: Outages) -> None:
    outages.scene.service.stop()
    since = len(outages.scene.service.log("ingester"))
    with outages.registry.away("refuse"):
        outages.scene.service.start()
        ids = outages.send("out.asked", 10)
        outages.waits("ingester", "schema registry does not answer", since)
        assert not outages.scene.service.runs()

    outages.handled_once(ids)


@pytest.mark.parametrize("fault", FAULTS)
def test_with_a_registry_that_goes_away_events_of_a_new_name_wait(outages: Outages, fault: Fault) -> None:
    outages.register(f"out.new{fault}")
    before = outages.send("out.asked", 10)
    since = len(outages.scene.service.log("ingester"))
    with outages.registry.away(fault):
        ids = outages.send(f"out.new{fault}", 10) + outages.send("out.asked", 10)
        outages.waits("ingester", "schema registry", since)

    outages.handled_once(before + ids)
    outages.waits("ingester", "all services answer again after", since)


@pytest.mark.parametrize("fault", FAULTS)
def test_with_a_registry_that_goes_away_outputs_of_a_new_name_wait_and_the_handler_runs_once(
    outages: Outages, fault: Fault
) -> None:
    names = [unique(f"answer.{fault}") for _ in range(2)]
    outages.register(*names)
    outages.scene.send(b"out.writes", avro(ASKED, {"id": names[0]}))
    outages.scene.kafka.await_records(outages.scene.out, lambda one: one.key == names[0].encode())
    since = len(outages.scene.service.log("worker"))
    with outages.registry.away(fault):
        outages.scene.send(b"out.writes", avro(ASKED, {"id": names[1]}))
        outages.waits("worker", "schema registry", since)

    outages.scene.kafka.await_records(outages.scene.out, lambda one: one.key == names[1].encode())
    outages.waits("worker", "it answers again after", since)
    assert outages.scene.service.runs().count(names[1]) == 1
    outages.handled_once(outages.send("out.asked", 2))


@pytest.mark.parametrize("fault", FAULTS)
def test_with_a_registry_that_goes_away_an_error_event_waits(outages: Outages, fault: Fault) -> None:
    name = unique(f"out.refused{fault}")
    outages.register(name)
    outages.handled_once(outages.send(name, 1))
    since = len(outages.scene.service.log("ingester"))
    with outages.registry.away(fault):
        undecodable = outages.scene.send(name.encode(), b"\xff")
        outages.waits("ingester", "schema registry", since)
        assert undecodable not in [one.original for one in outages.scene.kafka.read(outages.scene.out)]

    outages.scene.one_error_event(undecodable, name=name, error_type="DecodeError")


def test_with_a_proxy_that_hides_one_subject_its_events_become_error_events_and_others_are_handled(
    outages: Outages,
) -> None:
    outages.register("out.hidden")
    outages.registry.hides = "out.hidden"
    hidden = outages.scene.send(b"out.hidden", avro(ASKED, {"id": "hidden"}))
    ids = outages.send("out.asked", 4)

    outages.scene.one_error_event(hidden, name="out.hidden", error_type="SchemaNotFound")
    outages.handled_once(ids)


def test_with_redis_down_at_start_events_wait(outages: Outages) -> None:
    outages.scene.service.stop()
    ingester, worker = (len(outages.scene.service.log(role)) for role in ROLES)
    with outages.away("redis"):
        ids = outages.send("out.asked", 20)
        outages.scene.service.start()
        outages.waits("ingester", "Redis", ingester)
        outages.waits("worker", "Cannot connect to redis", worker)

    outages.handled_once(ids)
    outages.waits("ingester", "all services answer again after", ingester)


def test_an_idle_ingester_says_that_kafka_is_away_and_that_it_is_back(outages: Outages) -> None:
    outages.handled_once(outages.send("out.asked", 2))
    since = len(outages.scene.service.log("ingester"))
    with outages.away("kafka"):
        outages.waits("ingester", "Kafka does not answer", since)

    outages.handled_once(outages.send("out.asked", 2))
    outages.waits("ingester", "Kafka answers again after", since)


@pytest.mark.parametrize("part", ["redis", "kafka"])
def test_with_a_service_that_restarts_in_the_middle_each_event_runs_once(outages: Outages, part: str) -> None:
    ids = some_have_run(outages)
    with outages.away(part):
        passes(3.0)
    ids += outages.send("out.asked", 20)

    outages.handled_once(ids)


@pytest.mark.parametrize("part", ["redis", "kafka"])
def test_with_a_service_that_stands_still_for_longer_than_a_session_each_event_runs_once(
    outages: Outages, part: str
) -> None:
    ids = some_have_run(outages)
    with outages.own.frozen(part):
        passes(12.0)
    ids += outages.send("out.asked", 20)

    outages.handled_once(ids)


@pytest.mark.soak
def test_what_is_finished_while_kafka_is_away_runs_once_though_redis_is_emptied_then(outages: Outages) -> None:
    """Neither Kafka nor Redis knows of it: the ingester's memory alone does, for as long as it keeps the partition."""
    outages.handled_once(outages.send("out.asked", 2))
    ids = outages.send("out.silent", 200)
    runs, log = outages.scene.service.runs, outages.scene.service.log
    eventually(lambda: ids[0] in runs(), "the first has run")
    since = len(log("ingester"))
    with outages.away("kafka"):
        read = eventually_still(lambda: len(set(runs()).intersection(ids)))
        redis.Redis.from_url(outages.own.settings["KAUFMANN_REDIS_URL"]).flushall()
        outages.waits("ingester", "is gone: rebuilt from Kafka", since)
        passes(6.0)
    outages.scene.kafka.await_all_committed(outages.scene.name, outages.scene.name, _RECOVERY_S)

    assert read > 50, "more than may run again"
    counts = Counter(runs())
    assert {one: counts[one] for one in ids if counts[one] != 1} == {}


def test_ingester_and_worker_survived_all_of_it(outages: Outages) -> None:
    assert all(outages.scene.service.is_alive(role) for role in ROLES)
    assert "Traceback" not in outages.scene.service.log("ingester")


def eventually_still(count: Callable[[], int], seconds: float = 3.0) -> int:
    """Wait until *count* stands still for so long, and return it."""
    seen, since = count(), time.monotonic()

    def stands_still() -> bool:
        nonlocal seen, since
        if (now := count()) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since > seconds

    eventually(stands_still, "nothing more runs", _RECOVERY_S)
    return seen


def some_have_run(outages: Outages) -> list[str]:
    """Send 300 events and return their ids in the middle of their handling."""
    outages.handled_once(outages.send("out.asked", 2))
    ran = len(outages.scene.service.runs())
    ids = outages.send("out.asked", 300)
    eventually(lambda: len(outages.scene.service.runs()) > ran + 20, "some of the events ran")
    return ids


def passes(seconds: float) -> None:
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until, "time passes")
