"""A registry, Redis or Kafka that is away for a while is not bad input: the service waits, and loses nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kaufmann_celery.local import LocalStack
from tests.integration.registry_proxy import FAULTS, Fault, RegistryProxy
from tests.integration.scene import Scene, avro, scene
from tests.integration.service_process import eventually, unique

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


@kaufmann.on("out.writes")
def write(event):
    note(event)
    return Output(event.payload["id"], {"id": event.payload["id"]})


@kaufmann.on("out.fails")
def fail(event):
    note(event)
    raise ValueError("no luck")
"""


@dataclass
class Outages:
    """A service whose Kafka and Redis are this module's own, and whose registry is behind a proxy."""

    scene: Scene
    directory: Path
    registry: RegistryProxy

    def part(self, name: str) -> LocalStack:
        """Return the stack of one service."""
        return LocalStack(self.directory, services=(name,))

    def register(self, *names: str) -> None:
        for name in names:
            self.scene.registry.register(name, ASKED)

    def send(self, name: str, count: int) -> list[str]:
        """Send events of *name* to both partitions; return their ids."""
        ids = [unique(name) for _ in range(count)]
        for number, one in enumerate(ids):
            self.scene.send(name.encode(), avro(ASKED, {"id": one}), partition=number % 2)
        return ids

    def handled_once(self, ids: list[str]) -> None:
        """Wait until each is answered and committed; check that each ran once and none failed."""
        self.scene.handled(*ids)
        self.scene.kafka.await_all_committed(self.scene.name, self.scene.name)
        runs = Counter(self.scene.service.runs())
        assert {one: runs[one] for one in ids if runs[one] != 1} == {}
        assert [one.original for one in self.scene.kafka.read(self.scene.out) if one.original] == self.failed
        assert not self.scene.service.has_died()

    @property
    def failed(self) -> list[object]:
        """The positions of events that failed because their handler did."""
        found = [one for one in self.scene.kafka.read(self.scene.out) if one.key == b"event.error.out.fails"]
        return [one.original for one in found if one.header["kaufmann-error-type"] == b"ValueError"]

    def waits(self, role: str, what: str, since: int) -> None:
        """Wait until *role* has logged *what* after its first *since* characters."""
        log = self.scene.service.log
        eventually(lambda: what in log(role)[since:], f"the {role} says {what!r}")  # type: ignore[arg-type] # a Role

    @contextmanager
    def redis_away(self) -> Iterator[None]:
        self.part("redis").down()
        yield
        self.part("redis").up(owner_pid=os.getpid())


@pytest.fixture(scope="module")
def outages(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outages]:
    directory = tmp_path_factory.mktemp("stack")
    own = LocalStack(directory, services=("kafka", "redis"))
    try:
        settings = {**stack, **own.up(owner_pid=os.getpid())}
        with (
            RegistryProxy(stack["KAUFMANN_SCHEMA_REGISTRY_URL"]) as proxy,
            scene(
                tmp_path_factory.mktemp("outages"), settings, SERVICE, name="outages",
                schemas={"out.asked": ASKED, "out.writes": ASKED, "out.fails": ASKED},
                settings={"schema_registry_url": proxy.url},
            ) as one,
        ):  # fmt: skip
            yield Outages(one, directory, proxy)
    finally:
        own.down()


def test_with_a_registry_that_is_down_at_start_events_wait(outages: Outages) -> None:
    with outages.registry.away("refuse"):
        outages.scene.service.start()
        ids = outages.send("out.asked", 10)
        outages.waits("ingester", "schema registry does not answer", 0)
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
