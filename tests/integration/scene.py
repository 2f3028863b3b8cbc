"""A running service, its topics and schemas, and a bystander who writes bad records and looks what becomes of them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fastavro

from kaufmann_celery.event import Position
from kaufmann_celery.registry.client import SchemaRegistry
from tests.integration.kafka_topics import Bystander, Found
from tests.integration.service_process import DEADLINE_S, Service, eventually, service, unique

#: What every scene's service handles: it answers with `good.handled`, in JSON.
GOOD = {"type": "record", "name": "good.sent", "fields": [{"name": "id", "type": "string"}]}
GOOD_HANDLER = """

@kaufmann.on("good.sent")
def good(event):
    return Output("good.handled", {"id": event.payload["id"]}, format="json")
"""
#: Handlers of a service that has `note`: the first runs until the file `go` is there, the second waits behind it.
BLOCKING_HANDLERS = """
@kaufmann.on("order.blocking", batch=1)
def blocking(event):
    note("blocking")
    while not Path("go").exists():
        time.sleep(0.05)


@kaufmann.on("order.held", batch=1)
def held(event):
    note("held")
"""
MEBIBYTE = 1024 * 1024


@dataclass
class Scene:
    """One service at work. Its topics: `name` in, `name.out`, `name.dead`, and what a test adds."""

    name: str
    service: Service
    kafka: Bystander
    registry: SchemaRegistry

    def on(self, kafka: Bystander) -> Scene:
        """Return the same scene as it looks on another cluster."""
        return replace(self, kafka=kafka)

    @property
    def out(self) -> str:
        """The topic of the service's outputs, and of its error events unless a setting says otherwise."""
        return f"{self.name}.out"

    @property
    def dead(self) -> str:
        """The topic of dead letters, where the service has one."""
        return f"{self.name}.dead"

    def send(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        **where: Any,
    ) -> Position:
        """Write a record to the service's topic, partition 0."""
        return self.kafka.send(self.name, key, value, headers, **where)

    def handles_what_follows(self) -> None:
        """Write a good event to each partition, wait until both are handled and all is committed."""
        sent = [unique("good") for _ in range(2)]
        for partition, one in enumerate(sent):
            self.send(b"good.sent", avro(GOOD, {"id": one}), partition=partition)
        self.handled(*sent, name="good.handled")
        self.kafka.await_all_committed(self.name, self.name)

    def handled(
        self, *ids: str, name: str = "bad.handled", timeout_s: float = DEADLINE_S, may_repeat: bool = False
    ) -> list[dict[str, Any]]:
        """Wait until the service has answered with the JSON event *name* for each of *ids*; return the payloads.

        *may_repeat*: an ingester died under at_least_once, so an answer may stand there twice, byte for byte the same.
        """
        answers: dict[str, list[Found]] = {}

        def all_answered() -> bool:
            answers.update({one: [] for one in ids})
            for found in self.kafka.read(self.out):
                if found.key == name.encode() and (one := json.loads(found.value or b"{}").get("id")) in answers:
                    answers[one].append(found)
            return all(answers.values())

        eventually(all_answered, f"{len(ids)} answers in {self.out}", timeout_s, self.kafka.gives_up)
        assert {one: found for one, found in answers.items() if len(found) > 1 and not may_repeat} == {}
        assert {one: found for one, found in answers.items() if len({*map(_without_offset, found)}) > 1} == {}
        return [json.loads(found[0].value or b"") for found in answers.values()]

    def error_events(self, position: Position, topic: str | None = None) -> list[Found]:
        """Wait for an error event about *position* and until all is committed; return all there are."""
        self.kafka.await_records(topic or self.out, lambda one: one.original == position)
        self.handles_what_follows()
        return [one for one in self.kafka.read(topic or self.out) if one.original == position]

    def one_error_event(
        self,
        position: Position,
        *,
        name: str,
        error_type: str,
        attempts: int = 1,
        topic: str | None = None,
    ) -> Found:
        """Wait for the error event about *position*; check that it is the only one and that its headers are right."""
        (found,) = self.error_events(position, topic)
        assert found.key == f"event.error.{name}".encode()
        self.check_failure_headers(found, position, error_type=error_type, attempts=attempts)
        return found

    def check_failure_headers(self, found: Found, position: Position, *, error_type: str, attempts: int = 1) -> None:
        """Check what error event and dead letter say about the record at *position*."""
        (original,) = [one for one in self.kafka.read(position.topic) if one.position == position]
        message = found.header.get("kaufmann-error-message") or b""
        assert {key: value for key, value in found.header.items() if key in _FAILURE} == {
            "kaufmann-original-topic": position.topic.encode(),
            "kaufmann-original-partition": str(position.partition).encode(),
            "kaufmann-original-offset": str(position.offset).encode(),
            "kaufmann-original-timestamp": str(original.timestamp_ms).encode(),
            "kaufmann-original-key": original.key or b"",
            "kaufmann-group": self.name.encode(),
            "kaufmann-error-type": error_type.encode(),
            "kaufmann-error-message": message,
            "kaufmann-attempts": str(attempts).encode(),
        }
        assert 0 < len(message.decode()) <= 1000

    def payload_of(self, found: Found) -> dict[str, Any]:
        """Return an error event's payload, JSON or Avro."""
        assert found.value is not None
        if found.header.get("content-type") == b"application/json":
            payload = dict(json.loads(found.value))
            payload.pop("meta")
            return payload
        schema = self.registry.by_id(int(found.header["kaufmann-schema-id"] or b"")).schema
        value: Any = fastavro.schemaless_reader(io.BytesIO(found.value), fastavro.parse_schema(schema), None)
        return dict(value.get("payload", value))


_FAILURE = {
    *(f"kaufmann-original-{part}" for part in ("topic", "partition", "offset", "timestamp", "key")),
    *(f"kaufmann-{part}" for part in ("group", "error-type", "error-message", "attempts")),
}


@contextmanager
def scene(
    directory: Path,
    stack: Mapping[str, str],
    source: str,
    *,
    name: str,
    schemas: Mapping[str, Any],
    settings: Mapping[str, str] | None = None,
    dead_letter_bytes: int = 8 * MEBIBYTE,
    **modules: str,
) -> Iterator[Scene]:
    """Make topics and schemas for the service of *source*, whose text may say `NAME`; start nothing yet."""
    name = unique(name)
    common = {
        "service_name": name,
        "consumer_group": name,
        "default_topic": name,
        "default_publish_topic": f"{name}.out",
        "dead_letter_topic": f"{name}.dead",
        "commit_interval": "0.3",
        **{key: value.replace("NAME", name) for key, value in (settings or {}).items()},
    }
    registry = SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]])
    for subject, schema in {"good.sent": GOOD, **schemas}.items():
        registry.register(subject, schema)
    text = (source + GOOD_HANDLER).replace("NAME", name)
    with (
        Bystander(stack["KAUFMANN_BROKERS"]) as kafka,
        service(directory, stack, text, name=name, settings=common, **modules) as running,
    ):
        kafka.create(name, max_message_bytes=4 * MEBIBYTE, message_timestamp_after_max_ms=2**63 - 1)
        kafka.create(f"{name}.out")
        kafka.create(f"{name}.dead", max_message_bytes=dead_letter_bytes)
        kafka.gives_up = running.has_died
        yield Scene(name, running, kafka, registry)


def avro(schema: Any, value: Any) -> bytes:
    """Return bare Avro, without any framing."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def _without_offset(found: Found) -> Found:
    return replace(found, position=found.position._replace(offset=0))


def without_headers(found: Found) -> dict[str, bytes | None]:
    """Return the headers that are not about the failure."""
    return {key: value for key, value in found.header.items() if key not in _FAILURE}
