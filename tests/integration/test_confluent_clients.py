"""`framing="confluent"`, held against the clients that others use: they read what is written here, and the reverse."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from schema_registry.client import SchemaRegistryClient as OtherClient
from schema_registry.serializers import AvroMessageSerializer

from kaufmann_celery.config import load_config
from kaufmann_celery.registry.client import Reference, SchemaRegistry
from kaufmann_celery.transcoders.configured import Transcoders
from tests.integration.service_process import unique
from tests.unit.test_wire import VECTORS, Vector, meta_of

#: They leave their connections to be collected.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PLAIN = {
    "type": "record",
    "name": "placed",
    "fields": [{"name": "id", "type": "string"}, {"name": "sum", "type": "int"}],
}


class Scene:
    """A subject of its own, and all who know of it."""

    def __init__(self, stack: Mapping[str, str], schema: Any) -> None:
        self.url = stack["KAUFMANN_SCHEMA_REGISTRY_URL"]
        self.subject = unique("event")
        self.schema = schema
        registry = SchemaRegistry([self.url])
        self.id = registry.register(self.subject, schema)
        config = load_config(
            "shop", keywords={"framing": "confluent", "schema_registry_url": self.url}, conf={}, environ={}
        )
        self.ours = Transcoders(config)
        self.client = SchemaRegistryClient({"url": self.url})
        self.context = SerializationContext("orders", MessageField.VALUE)

    def written_by_confluent(self, value: Any) -> bytes:
        conf = {
            "auto.register.schemas": False, "use.latest.version": True,
            "subject.name.strategy": lambda *_: self.subject,
        }  # fmt: skip
        written: bytes = AvroSerializer(self.client, json.dumps(self.schema), conf=conf)(value, self.context)
        return written

    def read_by_confluent(self, value: bytes) -> Any:
        return AvroDeserializer(self.client)(value, self.context)


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Have them collected here, and not in another test."""
    yield
    gc.collect()


@pytest.fixture(params=["command", "query", "every type"])
def vector(request: pytest.FixtureRequest) -> Vector:
    return VECTORS[request.param]


def test_confluents_deserializer_reads_what_is_written_here(stack: Mapping[str, str], vector: Vector) -> None:
    scene = Scene(stack, vector.schema)
    written = scene.ours.write(scene.subject, "orders", vector.payload, meta_of(vector))

    assert written.value[:5] == b"\0" + scene.id.to_bytes(4, "big")
    assert written.headers == ()
    assert scene.read_by_confluent(written.value) == {"meta": meta_of(vector), "payload": vector.payload}


def test_what_confluents_serializer_writes_is_read_here(stack: Mapping[str, str], vector: Vector) -> None:
    scene = Scene(stack, vector.schema)
    value = scene.written_by_confluent({"meta": meta_of(vector), "payload": vector.payload})
    read = scene.ours.read(scene.subject, "orders", value, {})

    assert (read.payload, read.meta) == (vector.payload, meta_of(vector))


def test_both_write_the_same_bytes_and_no_name_is_needed_to_read_them(stack: Mapping[str, str]) -> None:
    scene, value = Scene(stack, PLAIN), {"id": "A-1", "sum": 7}
    written = scene.ours.write(scene.subject, "orders", value, {}).value

    assert written == scene.written_by_confluent(value)
    assert scene.ours.read(None, "orders", written, {}).payload == value
    assert scene.read_by_confluent(written) == value


def test_a_third_client_agrees(stack: Mapping[str, str]) -> None:
    scene, value = Scene(stack, PLAIN), {"id": "A-1", "sum": 7}
    other = AvroMessageSerializer(OtherClient(scene.url))
    written = scene.ours.write(scene.subject, "orders", value, {}).value

    assert other.decode_message(written) == value
    assert other.encode_record_with_schema_id(scene.id, value) == written


def test_references_between_subjects_are_followed(stack: Mapping[str, str]) -> None:
    """Confluent's way to share a type; its serializer registers and follows them too."""
    scene = Scene(stack, PLAIN)
    registry = SchemaRegistry([scene.url])
    outer = {
        "type": "record",
        "name": "batch",
        "fields": [{"name": "items", "type": {"type": "array", "items": "placed"}}],
    }
    scene.subject, inner = unique("batch"), scene.subject
    registry.register(scene.subject, outer, [Reference("placed", inner, 1)])
    value = {"items": [{"id": "A-1", "sum": 7}]}
    written = scene.ours.write(scene.subject, "orders", value, {}).value

    assert scene.ours.read(scene.subject, "orders", written, {}).payload == value
    assert scene.read_by_confluent(written) == value
