"""G4: a `read_committed` reader sees each event's outputs exactly once, whatever crashes, under `exactly_once`.

Under `at_least_once` a crash may repeat an output, byte for byte and with the same message id.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from kaufmann_celery.local import LocalStack
from kaufmann_celery.registry.client import SchemaRegistry
from tests.integration.kafka_topics import Bystander, Found
from tests.integration.scene import avro
from tests.integration.service_process import Service, eventually, service, unique

#: Seconds for all to be handled, with rebalances and restarts in between, on a machine that does other things too.
_ALL_S = 180.0
#: Seconds that an ingester's death may hold outputs up.
_RECOVERY_S = 15.0

_ASKED = {"type": "record", "name": "once.asked", "fields": [{"name": "id", "type": "string"}]}

#: Where the file `at` says so, the ingester ends or stands still at one of these steps.
_SOURCE = """
import functools
import os
import signal
from pathlib import Path

from kafka.producer import KafkaProducer
from kafka.producer.transaction_manager import TransactionManager
from kaufmann_celery import Kaufmann, Output, look
from kaufmann_celery.ledger import OwnerLedger

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


@kaufmann.on("once.*")
def handle(event):
    one = event.payload["id"]
    if one.startswith("fails"):
        raise ValueError(one)
    if one.startswith("silent"):
        return None
    return Output("once.answered", {"id": one, "filler": "x" * (5000 if one.startswith("large") else 1)}, format="json")


def fault(step):
    file = Path("at")
    if file.exists() and file.read_text().split()[0] == step:
        kind = file.read_text().split()[1]
        file.unlink()
        os.kill(os.getpid(), getattr(signal, kind))


def watched(owner, name, before=None, after=None):
    call = getattr(owner, name)

    @functools.wraps(call)
    def inner(*args, **kwargs):
        fault(before)
        result = call(*args, **kwargs)
        fault(after)
        return result

    setattr(owner, name, inner)


watched(KafkaProducer, "begin_transaction", after="begun")
watched(TransactionManager, "send_offsets_to_transaction", after="offsets")
watched(KafkaProducer, "send", after="sending")
watched(TransactionManager, "begin_commit", before="written", after="committing")
watched(OwnerLedger, "_turned", after="heard")
watched(OwnerLedger, "settle", before="committed", after="settled")
watched(OwnerLedger, "_forget_call", before="forgetting")
asked = look.forgets


def forgets(covered):
    answers = asked(covered)

    def heard():
        found = answers()
        fault("forgotten" if found else None)
        return found

    return heard


look.forgets = forgets
"""


@dataclass
class Scene:
    """A service whose outputs go to a topic of their own, and a reader of what is committed there."""

    name: str
    service: Service
    kafka: Bystander
    settings: Mapping[str, str]
    sent: list[str] = field(default_factory=list)

    @property
    def out(self) -> str:
        return f"{self.name}.out"

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    def send(self, *ids: str) -> None:
        """Write an event for each of *ids*; `bad…` is one that cannot be decoded."""
        self.kafka.send_all(
            self.name,
            [
                (number % 2, b"once.asked", _value(one), [("id", one.encode())])
                for number, one in enumerate(ids, len(self.sent))
            ],
        )
        self.sent += ids

    def ids(self, kind: str, count: int) -> list[str]:
        return [unique(kind) for _ in range(count)]

    def seen(self) -> Counter[str]:
        """Count what is committed for each event: its answer, or its error event."""
        return Counter(self.id_of(one) for one in self.kafka.read(self.out))

    def id_of(self, found: Found) -> str:
        if found.key == b"once.answered":
            return str(json.loads(found.value or b"")["id"])
        position = found.original
        assert position is not None
        return self.id_at[(position.partition, position.offset)]

    @property
    def id_at(self) -> Mapping[tuple[int, int], str]:
        return {
            (one.position.partition, one.position.offset): (one.header["id"] or b"").decode()
            for one in self.kafka.read(self.name)
        }

    def supervise(self) -> None:
        """Start an ingester or a worker again that has ended."""
        for role in ("ingester", "worker"):
            if self.service.has_died(role):
                self.service.start(role)

    def starts(self) -> int:
        """Return how many ingesters have begun."""
        return self.service.log("ingester").count("INFO kaufmann_celery.ingester: ingester of")

    def fault(self, step: str, kind: str = "SIGKILL") -> None:
        """Have the ingester end or stand still when it comes to *step*."""
        (self.service.directory / "at.new").write_text(f"{step} {kind}")
        (self.service.directory / "at.new").rename(self.service.directory / "at")

    def has_faulted(self) -> bool:
        return not (self.service.directory / "at").exists()

    def settled(self, *, supervise: bool = True) -> None:
        """Wait until all is committed."""

        def all_committed() -> bool:
            if supervise:
                self.supervise()
            committed = self.kafka.committed(self.name)
            return all(committed.get(partition) == end for partition, end in self.kafka.ends(self.name).items())

        eventually(all_committed, "all committed", _ALL_S)

    def each_once(self) -> None:
        """Wait until all is committed; check that each event's output or error event is seen exactly once."""
        self.settled()
        expected = {one: 1 for one in self.sent if not one.startswith("silent")}
        seen = self.seen()
        assert {one: count for one, count in seen.items() if expected.get(one) != count} == {}
        assert expected.keys() - seen.keys() == set()
        letters = Counter(
            (one.original.partition, one.original.offset) for one in self.kafka.read(self.dead) if one.original
        )
        assert Counter({place: 1 for place, one in self.id_at.items() if one.startswith("bad")}) == letters


def _value(one: str) -> bytes:
    return one.encode() if one.startswith("bad") else avro(_ASKED, {"id": one})


@contextmanager
def _scene(
    directory: Path, stack: Mapping[str, str], delivery: str = "exactly_once", **settings: str
) -> Iterator[Scene]:
    name = unique("once")
    directory.mkdir(exist_ok=True)
    SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]]).register("once.asked", _ASKED)
    common = {
        "consumer_group": name, "default_topic": name, "default_publish_topic": f"{name}.out", "delivery": delivery,
        "dead_letter_topic": f"{name}.dead", "commit_interval": "0.3", **settings,
    }  # fmt: skip
    with (
        Bystander(stack["KAUFMANN_BROKERS"], "read_committed") as kafka,
        service(directory, stack, _SOURCE.replace("NAME", name), name=name, settings=common) as running,
    ):
        for topic in (name, f"{name}.out", f"{name}.dead"):
            kafka.create(topic)
        yield Scene(name, running, kafka, common)


def test_outputs_error_events_and_dead_letters_are_seen_once(stack: dict[str, str], tmp_path: Path) -> None:
    with _scene(tmp_path, stack) as scene:
        kinds = ["ok"] * 400 + ["fails"] * 20 + ["silent"] * 20 + ["bad"] * 10
        random.shuffle(kinds)
        scene.service.start()
        scene.send(*(unique(kind) for kind in kinds))
        scene.each_once()
        assert not scene.service.has_died()


@pytest.mark.parametrize(
    "step",
    [
        "heard",
        "begun",
        "offsets",
        "sending",
        "written",
        "committing",
        "committed",
        "settled",
        "forgetting",
        "forgotten",
    ],
)
def test_after_a_kill_at_any_step(stack: dict[str, str], tmp_path: Path, step: str) -> None:
    with _scene(tmp_path, stack) as scene:
        scene.service.start()
        scene.send(*scene.ids("ok", 20), *scene.ids("fails", 2))
        scene.each_once()
        scene.fault(step)
        scene.send(*scene.ids("ok", 40), *scene.ids("fails", 2), *scene.ids("bad", 2), *scene.ids("silent", 2))
        eventually(scene.has_faulted, f"the ingester comes to {step}")
        scene.each_once()


@pytest.mark.soak
def test_after_kills_at_random_moments_under_load_and_soon(stack: dict[str, str], tmp_path: Path) -> None:
    with _scene(tmp_path, stack, max_demand="200") as scene:
        scene.service.start()
        longest = 0.0
        for _ in range(3):
            kinds = random.choices(["ok", "fails", "silent", "bad"], [90, 4, 4, 2], k=2000)
            seen = len(scene.seen())
            scene.send(*(unique(kind) for kind in kinds))
            eventually(lambda seen=seen: len(scene.seen()) > seen, "an output", _ALL_S)  # type: ignore[misc] # bool
            time.sleep(random.uniform(0.0, 1.0))
            os.kill(scene.service.pid("ingester"), signal.SIGKILL)
            eventually(lambda: scene.service.has_died("ingester"), "its death")
            seen, starts = len(scene.seen()), scene.starts()
            scene.supervise()
            # How long a process takes to start is the machine's affair.
            eventually(lambda starts=starts: scene.starts() > starts, "the next one", _ALL_S)  # type: ignore[misc] # bool
            started = time.monotonic()
            eventually(lambda seen=seen: len(scene.seen()) > seen, "an output", _ALL_S)  # type: ignore[misc] # bool
            longest = max(longest, time.monotonic() - started)
        scene.each_once()
        print(json.dumps({"longest_recovery_s": round(longest, 1)}))
        assert longest <= _RECOVERY_S


def test_a_transaction_open_at_death_is_ended_by_the_next_owner(stack: dict[str, str], tmp_path: Path) -> None:
    with _scene(tmp_path, stack) as scene, _another(scene, tmp_path / "second", stack) as second:
        scene.service.start()
        scene.send(*scene.ids("ok", 10))
        scene.each_once()
        second.start("ingester")
        eventually(lambda: "assigned" in second.log("ingester"), "the second is in the group", _ALL_S)
        scene.fault("written")
        scene.send(*scene.ids("ok", 40))
        eventually(scene.has_faulted, "a transaction is open")
        died = time.monotonic()
        scene.settled(supervise=False)
        took = time.monotonic() - died
        scene.each_once()
        assert "left a transaction open" in second.log("ingester")
        print(json.dumps({"recovery_s": round(took, 1)}))
        assert took <= _RECOVERY_S


@pytest.mark.parametrize("step", ["begun", "written", "committed"])
def test_an_ingester_that_wakes_after_another_took_over_writes_nothing(
    stack: dict[str, str], tmp_path: Path, step: str
) -> None:
    with _scene(tmp_path, stack) as scene, _another(scene, tmp_path / "second", stack) as second:
        scene.service.start()
        scene.send(*scene.ids("ok", 10))
        scene.each_once()
        scene.fault(step, "SIGSTOP")
        scene.send(*scene.ids("ok", 40), *scene.ids("fails", 2), *scene.ids("bad", 2))
        eventually(scene.has_faulted, f"the ingester comes to {step}")
        second.start("ingester")
        scene.each_once()
        os.kill(scene.service.pid("ingester"), signal.SIGCONT)
        scene.send(*scene.ids("ok", 100))
        scene.each_once()
        eventually(lambda: "generation" in scene.service.log("ingester"), "it is in the group again", _ALL_S)
        scene.send(*scene.ids("ok", 100))
        scene.each_once()
        assert not scene.service.has_died()
        assert not second.has_died()


def test_across_rebalances_with_two_ingesters(stack: dict[str, str], tmp_path: Path) -> None:
    with _scene(tmp_path, stack, max_demand="100") as scene, _another(scene, tmp_path / "second", stack) as second:
        scene.service.start()
        scene.send(*scene.ids("ok", 1500))
        for _ in range(3):
            second.start("ingester")
            eventually(lambda: "assigned" in second.log("ingester"), "the second is in the group", _ALL_S)
            scene.send(*scene.ids("ok", 200), *scene.ids("fails", 5))
            second.stop("ingester")
            second.log_file("ingester").unlink()
        scene.each_once()
        assert not scene.service.has_died()


def test_what_kafka_refuses_in_a_transaction_fails_its_event_alone(stack: dict[str, str], tmp_path: Path) -> None:
    with _scene(tmp_path, stack) as scene:
        scene.service.start()
        scene.send(*scene.ids("ok", 4))
        scene.each_once()
        # Behind the ingester's back, who looks at a topic's limit every 30 s.
        scene.kafka.alter(scene.out, max_message_bytes=3000)
        scene.send(*scene.ids("ok", 20), *scene.ids("large", 3), *scene.ids("ok", 20))
        scene.each_once()
        failed = [one for one in scene.kafka.read(scene.out) if one.original]
        assert [one.header["kaufmann-error-type"] for one in failed] == [b"RefusedForGood"] * 3
        assert {scene.id_of(one).partition("-")[0] for one in failed} == {"large"}


def test_across_a_restart_of_kafka_and_a_redis_that_is_emptied(stack: dict[str, str], tmp_path: Path) -> None:
    own = LocalStack(tmp_path / "own", services=("kafka", "redis"))
    kafka = LocalStack(tmp_path / "own", services=("kafka",))
    try:
        settings = {**stack, **own.up(owner_pid=os.getpid())}
        client = redis.Redis.from_url(settings["KAUFMANN_REDIS_URL"])
        with _scene(tmp_path / "service", settings) as scene:
            scene.service.start()
            scene.send(*scene.ids("ok", 200))
            for round_ in range(2):
                eventually(lambda n=round_: len(scene.seen()) > 100 * n, "outputs", _ALL_S)  # type: ignore[misc] # bool
                client.flushall()
                scene.send(*scene.ids("ok", 100), *scene.ids("fails", 3))
            scene.each_once()
            scene.send(*scene.ids("ok", 300))
            scene.kafka.disconnect()
            kafka.down()
            kafka.up(owner_pid=os.getpid())
            scene.each_once()
            # Both, and the ingester: only what was published and is not committed could be published again.
            scene.send(*scene.ids("ok", 100))
            scene.fault("committed")
            eventually(scene.has_faulted, "a transaction is committed", _ALL_S)
            client.flushall()
            scene.each_once()
    finally:
        own.down()


def test_at_least_once_repeats_byte_for_byte(stack: dict[str, str], tmp_path: Path) -> None:
    with _scene(tmp_path, stack, "at_least_once") as scene:
        scene.service.start()
        scene.send(*scene.ids("ok", 4))
        scene.each_once()
        scene.fault("committed")
        scene.send(*scene.ids("ok", 40), *scene.ids("fails", 2))
        eventually(scene.has_faulted, "outputs are published and their events not finished")
        scene.settled()
        repeats = [one for one, count in scene.seen().items() if count > 1]
        assert repeats
        for one in repeats:
            made = {
                (at.key, at.value, at.headers, at.timestamp_ms)
                for at in scene.kafka.read(scene.out)
                if scene.id_of(at) == one
            }
            assert len(made) == 1
        answers = [one for one in scene.kafka.read(scene.out) if one.key == b"once.answered"]
        ids = {json.loads(one.value or b"")["meta"]["message_id"] for one in answers}
        assert len(ids) == len({scene.id_of(one) for one in answers})


@contextmanager
def _another(scene: Scene, directory: Path, stack: Mapping[str, str]) -> Iterator[Service]:
    """Make another ingester of the same service; the same worker serves both."""
    directory.mkdir()
    with service(
        directory, stack, _SOURCE.replace("NAME", scene.name), name=scene.name, settings=scene.settings
    ) as one:
        yield one
