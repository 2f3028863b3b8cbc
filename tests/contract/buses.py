"""The contract service behind the calls of MockBus: in memory, and by its processes on the real stack."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from kaufmann_celery import Kaufmann
from kaufmann_celery.registry.client import SchemaRegistry
from kaufmann_celery.testing import Emitted, MockBus
from kaufmann_celery.testing.emissions import ANY, Emissions
from kaufmann_celery.testing.reading_back import ReadingBack, Record
from kaufmann_celery.transcoders.configured import Transcoders
from tests.integration.kafka_topics import Found
from tests.integration.scene import Scene, scene
from tests.integration.user_commands import commands

HERE = Path(__file__).parent
#: A service under another name than its own takes these as its topics, too.
OUT, DEAD, REPLIES = "NAME.out", "NAME.dead", "NAME.replies"
SETTINGS = {"default_publish_topic": OUT, "dead_letter_topic": DEAD, "event_handler_mod": "contract_handlers"}


def text(name: str, *fields: dict[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": "text", "type": "string"}, *fields]}


KINDS = {
    "data": "bytes", "price": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    "day": {"type": "int", "logicalType": "date"}, "when": {"type": "long", "logicalType": "timestamp-millis"},
    "id": {"type": "string", "logicalType": "uuid"}, "tagged": {"type": "map", "values": "string"},
}  # fmt: skip
TYPES = [{"name": name, "type": kind} for name, kind in KINDS.items()]
#: Their last words; all have one field, `text`.
PLAIN = (
    "echo", "several", "async", "fail", "retry", "later", "misfit", "unknown", "nothing", "wrong", "told", "raw",
    "bare", "matched", "any.one", "done", "ignored",
)  # fmt: skip
SCHEMAS: dict[str, Any] = {
    **{f"contract.{name}": text(f"contract_{name.replace('.', '_')}") for name in PLAIN},
    "contract.types": {"type": "record", "name": "types", "fields": TYPES},
    "contract.typed": {"type": "record", "name": "typed", "fields": TYPES},
    "contract.evolved": text("evolved", {"name": "added", "type": "string", "default": "default"}),
    "query.req": text("query_req"),
    "query.res": text("query_res"),
}
#: What another service still writes.
OLDER = text("evolved")


class Bus(Protocol):
    """What a test does with either."""

    #: The service's name, with which those of its topics begin.
    name: str

    @property
    def registry(self) -> SchemaRegistry: ...
    @property
    def emitted(self) -> list[Emitted]: ...
    @property
    def dead_letters(self) -> Sequence[Any]: ...
    def given_event(
        self, name: str, payload: Any, callback_id: str | None = None, meta: Any = None, *,
        key: str | None = None, headers: Any = None,
    ) -> None: ...  # fmt: skip
    def given_raw(self, key: bytes | None, value: bytes | None, headers: Any = ()) -> None: ...
    def then_event(self, name: str, payload: Any = ANY, *, topic: str | None = None) -> Emitted: ...
    def then_no_event(self, name: str | None = None) -> None: ...


class NamedMockBus(MockBus):
    name = "contract"


@contextmanager
def mock_bus(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NamedMockBus]:
    """Import the service as its processes would, and give it a MockBus."""
    for setting, value in SETTINGS.items():
        monkeypatch.setenv(f"KAUFMANN_{setting.upper()}", value.replace("NAME", NamedMockBus.name))
    monkeypatch.setenv("KAUFMANN_SCHEMA_PATH", str(write_schemas(directory)))
    monkeypatch.syspath_prepend(HERE)
    spec = importlib.util.spec_from_file_location("contract_service_of_one_test", HERE / "contract_service.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with NamedMockBus(module.kaufmann) as bus:
        yield bus


@contextmanager
def running_service(directory: Path, stack: Mapping[str, str]) -> Iterator[Scene]:
    """Start the service's ingester and worker on the real stack."""
    write_schemas(directory)
    source, handlers = ((HERE / f"contract_{part}.py").read_text() for part in ("service", "handlers"))
    with (
        scene(
            directory, stack, source, name="contract", schemas=SCHEMAS, settings=SETTINGS, contract_handlers=handlers
        ) as one,
        commands(one) as typed,
    ):
        one.kafka.create(f"{one.name}.replies", partitions=4)
        typed.start_service("-c", "2")
        one.handles_what_follows()
        try:
            yield one
        finally:
            print(typed.tails())  # pytest shows it where a test failed


class RealBus:
    """The calls of MockBus by Kafka: events are written to the service's topic, and what it emitted is read."""

    def __init__(self, one: Scene, stack: Mapping[str, str]) -> None:
        self._scene = one
        self.name = one.name
        self.registry = one.registry
        self._writer = Kaufmann(
            one.name, brokers=stack["KAUFMANN_BROKERS"], schema_registry_url=stack["KAUFMANN_SCHEMA_REGISTRY_URL"]
        )
        self._reading_back = ReadingBack(Transcoders(self._writer.config, registry=one.registry))
        self._topics = tuple(topic.replace("NAME", one.name) for topic in (OUT, DEAD, REPLIES))
        self._known = {topic: set(one.kafka.read(topic)) for topic in self._topics}
        self._emissions = Emissions()
        self.dead_letters: list[Found] = []

    def given_event(
        self, name: str, payload: Any, callback_id: str | None = None, meta: Any = None, *,
        key: str | None = None, headers: Any = None,
    ) -> None:  # fmt: skip
        meta = {"emitter_service": "test", "callback_id": callback_id, **(meta or {})}
        self._writer.publish(name, payload, meta=meta, key=key, headers=headers)

    def given_raw(self, key: bytes | None, value: bytes | None, headers: Any = ()) -> None:
        self._scene.send(key, value, headers)

    def then_event(self, name: str, payload: Any = ANY, *, topic: str | None = None) -> Emitted:
        self._read()
        return self._emissions.then_event(name, payload, topic=topic)

    def then_no_event(self, name: str | None = None) -> None:
        self._read()
        self._emissions.then_no_event(name)

    @property
    def emitted(self) -> list[Emitted]:
        self._read()
        return self._emissions.all

    def close(self) -> None:
        publisher: Any = self._writer.publisher
        publisher.close()

    def _read(self) -> None:
        """Wait until all that was given is finished, and read what is new."""
        self._scene.kafka.await_all_committed(self.name, self.name)
        for topic in self._topics:
            for found in self._scene.kafka.read(topic):
                if found not in self._known[topic]:
                    self._known[topic].add(found)
                    self._note(found)

    def _note(self, found: Found) -> None:
        if found.position.topic == DEAD.replace("NAME", self.name):
            self.dead_letters.append(found)
            return
        headers = tuple((name, value or b"") for name, value in found.headers)
        record = Record(*found.position, found.key, found.value, headers, found.timestamp_ms)
        self._emissions.all.append(self._reading_back.emitted(record, found.position.partition))


def write_schemas(directory: Path) -> Path:
    """Write the .avsc files; return the directory that they are in."""
    path = directory / "schemas"
    path.mkdir()
    for name, schema in SCHEMAS.items():
        (path / f"{name}.avsc").write_text(json.dumps(schema))
    return path
