"""Thousands of events in every framing, format and version, with failures, callbacks and a replay; counted in Kafka."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.scene import Scene, avro, scene
from tests.integration.test_mixed_events import VERSIONS
from tests.integration.user_commands import Commands, commands

EVENTS = 3_000
#: One in so many fails until it is replayed, and one in so many wants a reply.
FAILS, ASKS = 10, 6
MIXED = "mixed.placed"

SERVICE = """
from pathlib import Path
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


@kaufmann.on("mixed.*")
def mixed(event):
    number = int(event.payload["id"].rpartition("-")[2])
    if number % 10 == 0 and not Path("mended").exists():
        raise ValueError("not yet")
    return Output("mixed.handled", {"id": event.payload["id"]}, format="json", reply=True)
"""


@dataclass
class Run:
    """The service, and what a user types beside it."""

    scene: Scene
    typed: Commands

    def answered(self, topic: str) -> Counter[str]:
        """How many answers each event has in *topic*."""
        found = self.scene.kafka.read(topic)
        return Counter(json.loads(one.value or b"")["id"] for one in found if one.key == b"mixed.handled")

    def counts(self) -> dict[str, int]:
        """What Kafka holds."""
        answers, replies = self.answered(self.scene.out), self.answered(f"{self.scene.name}.back")
        errors = Counter(one.original for one in self.scene.kafka.read(f"{self.scene.name}.errors"))
        assert {*answers.values(), *replies.values(), *errors.values()} <= {1}
        return {"answers": len(answers), "replies": len(replies), "error events": len(errors)}


@pytest.fixture
def run(stack: Mapping[str, str], tmp_path: Path) -> Iterator[Run]:
    schemas = {MIXED: VERSIONS[0][0]}
    settings = {"error_topic": "NAME.errors", "max_demand": "500"}
    with scene(tmp_path, stack, SERVICE, name="mixed", schemas=schemas, settings=settings) as one:
        for version, _ in VERSIONS[1:]:
            one.registry.register(MIXED, version)
        for topic in ("errors", "back"):
            one.kafka.create(f"{one.name}.{topic}")
        with commands(one) as typed:
            yield Run(one, typed)


def record(run: Run, number: int) -> tuple[str, bytes, list[tuple[str, bytes]]]:
    """One event's name, value and headers: each framing in its turn, and each version."""
    one, back = f"mixed-{number}", f"{run.scene.name}.back"
    meta = {"message_id": one, "callback_id": one, "callback_topic": {"topic": back, "partition": 1}}
    asks = meta if number % ASKS == 1 else {}
    if number % 5 == 4:
        return "mixed.noted", json.dumps({"id": one, **({"meta": asks} if asks else {})}).encode(), []
    version = number // 5 % len(VERSIONS)
    schema, further = VERSIONS[version]
    schema_id = run.scene.registry.version(MIXED, version + 1).id
    prefix = b"\0" + schema_id.to_bytes(4, "big")
    headers = {
        0: [],
        1: [],
        2: [("kaufmann-schema-id", str(schema_id).encode())],
        3: [("__value_schema_id", prefix)],
    }[number % 5]
    if asks:
        headers = [*headers, ("kaufmann-meta", json.dumps(asks).encode())]
    return MIXED, (prefix if number % 5 == 1 else b"") + avro(schema, {"id": one, **further}), headers


def test_each_is_answered_once_fails_once_and_is_replayed_once(run: Run) -> None:
    failing = EVENTS // FAILS
    asking = sum(number % ASKS == 1 for number in range(EVENTS))
    records = [record(run, number) for number in range(EVENTS)]
    run.scene.kafka.send_all(
        run.scene.name, ((at % 2, name.encode(), value, headers) for at, (name, value, headers) in enumerate(records))
    )
    run.typed.start_service()
    run.scene.kafka.await_all_committed(run.scene.name, run.scene.name)

    # None of those that fail asks for a reply.
    assert run.counts() == {"answers": EVENTS - failing, "replies": asking, "error events": failing}

    (run.typed.directory / "mended").touch()
    for _ in range(2):
        replayed = run.typed.run("kaufmann", "-A", "service", "errors", "replay", "--execute")
        assert replayed.returncode == 0, replayed.stderr
    run.scene.kafka.await_records(run.scene.out, lambda one: one.key == b"mixed.handled", count=EVENTS)

    assert run.counts() == {"answers": EVENTS, "replies": asking, "error events": failing}
    print({"events": dict(Counter(name for name, _, _ in records)), **run.counts()})
