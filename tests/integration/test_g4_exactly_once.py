"""G4: a `read_committed` reader sees each event's outputs exactly once, whatever crashes, under `exactly_once`.

Under `at_least_once` a crash may repeat an output, byte for byte and with the same message id.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

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
from kaufmann_celery import Kaufmann, Output
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
watched(OwnerLedger, "turn", after="heard")
watched(OwnerLedger, "settle", before="committed", after="settled")
watched(OwnerLedger, "forget", before="forgetting", after="forgotten")
"""


@dataclass
class Scene:
    """A service whose outputs go to a topic of their own, and a reader of what is committed there."""

    name: str
    service: Service
    kafka: Bystander
    sent: list[str] = field(default_factory=list)

    @property
    def out(self) -> str:
        return f"{self.name}.out"

    @property
    def dead(self) -> str:
        return f"{self.name}.dead"

    def send(self, *ids: str) -> None:
        """Write an event for each of *ids*; `bad…` is one that cannot be decoded."""
        for one in ids:
            value = one.encode() if one.startswith("bad") else avro(_ASKED, {"id": one})
            self.kafka.send(
                self.name, b"once.asked", value, partition=len(self.sent) % 2, headers=[("id", one.encode())]
            )
            self.sent.append(one)

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

    def fault(self, step: str, kind: str = "SIGKILL") -> None:
        """Have the ingester end or stand still when it comes to *step*."""
        (self.service.directory / "at.new").write_text(f"{step} {kind}")
        (self.service.directory / "at.new").rename(self.service.directory / "at")

    def has_faulted(self) -> bool:
        return not (self.service.directory / "at").exists()

    def settled(self) -> None:
        """Wait until all is committed."""

        def all_committed() -> bool:
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


@contextmanager
def _scene(
    directory: Path, stack: Mapping[str, str], delivery: str = "exactly_once", name: str | None = None, **settings: str
) -> Iterator[Scene]:
    name = name or unique("once")
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
        if name not in kafka.topics():
            for topic in (name, f"{name}.out", f"{name}.dead"):
                kafka.create(topic)
        yield Scene(name, running, kafka)


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
