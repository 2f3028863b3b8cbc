"""`producer_mod`: what publishes in Kafka's place is waited for as Kafka is, and may refuse a record for good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.scene import Scene, avro, scene
from tests.integration.service_process import eventually

ASKED = {"type": "record", "name": "asked", "fields": [{"name": "id", "type": "string"}]}
SERVICE = """
from pathlib import Path
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


@kaufmann.on("own.asked")
def asked(event):
    with Path("runs").open("a") as file:
        file.write(event.payload["id"] + "\\n")
    return Output("own.answered", event.payload, format="json")
"""
PRODUCER = """
import json
from pathlib import Path
from kaufmann_celery import PublishError


def publish(records):
    if Path("away").exists():
        raise OSError("no luck")
    answers = []
    with Path("published").open("a") as file:
        for record in records:
            refused = record.kind == "output" and b"refused" in record.value
            answers.append(PublishError("too odd") if refused else None)
            if not refused:
                # An error event is Avro where the registry has a schema for it.
                error = dict(record.headers).get("kaufmann-error-message")
                said = error.decode() if error else json.loads(record.value)["id"]
                file.write(f"{record.topic} {record.key.decode()} {said}\\n")
    return answers
"""


def own(directory: Path, stack: Mapping[str, str], producer: str) -> Any:
    return scene(
        directory, stack, SERVICE, name="own", schemas={"own.asked": ASKED}, settings={"producer_mod": producer},
        producer=PRODUCER,
    )  # fmt: skip


def ask(one: Scene, *ids: str) -> None:
    for number, name in enumerate(ids):
        one.send(b"own.asked", avro(ASKED, {"id": name}), partition=number % 2)


def published(one: Scene) -> Counter[str]:
    file = one.service.directory / "published"
    return Counter(file.read_text().splitlines() if file.exists() else [])


def test_what_it_cannot_publish_waits_with_its_offset_and_is_given_to_it_again(
    stack: Mapping[str, str], tmp_path: Path
) -> None:
    with own(tmp_path, stack, "producer") as one:
        (tmp_path / "away").touch()
        ids = [f"id-{number}" for number in range(20)]
        ask(one, *ids)
        one.service.start()
        eventually(lambda: len(one.service.runs()) == len(ids), "all ran")
        eventually(lambda: "producer_mod raised OSError: no luck" in one.service.log("ingester"), "it says why")

        committed = one.kafka.committed(one.name)
        assert sum(committed.values()) == 0
        assert published(one) == {}

        (tmp_path / "away").unlink()
        one.kafka.await_all_committed(one.name, one.name)

        assert published(one) == Counter(f"{one.out} own.answered {name}" for name in ids)
        assert sorted(one.service.runs()) == sorted(ids)
        assert one.kafka.read(one.out) == []


def test_what_it_refuses_is_the_events_failure_and_the_error_event_goes_to_it_too(
    stack: Mapping[str, str], tmp_path: Path
) -> None:
    with own(tmp_path, stack, "producer") as one:
        ask(one, "refused-1", "fine-1")
        one.service.start()
        one.kafka.await_all_committed(one.name, one.name)

        assert published(one) == Counter([f"{one.out} own.answered fine-1", f"{one.out} event.error.own.asked too odd"])


def test_with_publish_nothing_handlers_run_and_offsets_move(stack: Mapping[str, str], tmp_path: Path) -> None:
    with own(tmp_path, stack, "kaufmann_celery.PublishNothing") as one:
        ids = [f"id-{number}" for number in range(20)]
        ask(one, *ids)
        one.service.start()
        one.kafka.await_all_committed(one.name, one.name)

        assert sorted(one.service.runs()) == sorted(ids)
        assert one.kafka.read(one.out) == []
