"""Records as KaufmannEx writes and reads them, put together by hand from the Avro specification, in both directions.

`number` and `text` are the specification's zig-zag numbers and strings; no encoder is used.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import fastavro
import pytest

from kaufmann_celery.config import load_config
from kaufmann_celery.decode import Decoder
from kaufmann_celery.event import Event, Output, Position
from kaufmann_celery.handlers import Handlers
from kaufmann_celery.outputs.composing import Composer
from kaufmann_celery.outputs.error_event import ErrorEvents, FailedEvent
from kaufmann_celery.outputs.metadata import Cause
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.partitions.pending import GoneRecord
from kaufmann_celery.tasks.envelope import unpack
from tests.unit.ledger_in_memory import handler
from tests.unit.test_avro import number, text
from tests.unit.test_avro_reading import InMemory, transcoders_of

#: As KaufmannEx registers it before every event, in a union.
METADATA: dict[str, Any] = {
    "type": "record",
    "name": "event_metadata",
    "namespace": "seven.cloud.services",
    "fields": [
        {"name": "message_id", "type": "string"},
        {"name": "emitter_service", "type": "string"},
        {"name": "emitter_service_id", "type": "string"},
        {"name": "callback_id", "type": ["null", "string"]},
        {"name": "message_name", "type": "string"},
        {"name": "timestamp", "type": "string"},
        {"name": "callback_topic", "default": None, "type": ["null", {
            "type": "record", "name": "callback_topic",
            "fields": [{"name": "topic", "type": ["null", "string"]}, {"name": "partition", "type": ["null", "int"]}],
        }]},
    ],
}  # fmt: skip
#: Before callbacks had topics.
OLD_METADATA = {**METADATA, "fields": METADATA["fields"][:-1]}


def event_of(name: str, payload: Any, meta_field: str = "meta") -> dict[str, Any]:
    meta = {"name": meta_field, "type": "seven.cloud.services.event_metadata"}
    return {"type": "record", "name": name, "fields": [meta, {"name": "payload", "type": payload}]}


def record_of(*fields: tuple[str, Any]) -> dict[str, Any]:
    return {"type": "record", "name": "Payload", "fields": [{"name": name, "type": kind} for name, kind in fields]}


def metadata(name: str, callback: bytes = b"\x00", callback_id: bytes = b"\x00") -> bytes:
    """The bytes of META: every field of `event_metadata` after the other."""
    parts = text("m1"), text("shop"), text("host-1"), callback_id, text(name), text(TIMESTAMP)
    return b"".join(parts) + callback


TIMESTAMP = "2024-02-29 12:00:00.123456Z"
NOW = datetime(2024, 2, 29, 12, 0, 0, 123_000, UTC)
ANY_OF = [
    "null", "string",
    {"type": "map", "values": ["string", {"type": "array", "items": {"type": "map", "values": "string"}}]},
]  # fmt: skip
RICH = record_of(
    ("id", "string"),
    ("state", {"type": "enum", "name": "State", "symbols": ["OPEN", "PAID", "SENT"]}),
    ("hash", {"type": "fixed", "name": "Hash", "size": 4}),
    ("counts", {"type": "map", "values": "long"}),
    ("sums", {"type": "array", "items": ["null", "double", {"type": "array", "items": "int"}]}),
    ("any", ANY_OF),
    ("big", "long"),
    ("flag", "boolean"),
    ("ratio", "float"),
    ("raw", "bytes"),
)
NUMBERS = ["null", "float", "double", "long"]
POINT = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}
#: Unions in which several branches may take a value: AvroEx takes the first that loses nothing.
CHOICES = record_of(
    ("half", NUMBERS), ("tenth", NUMBERS), ("whole", NUMBERS), ("nothing", NUMBERS), ("one", ["float", "int"]),
    ("big", ["int", "long"]),
    ("point", [POINT, {"type": "map", "values": "int"}]),
    ("entry", ["Point", {"type": "map", "values": "int"}]),
    ("flat", [
        {"type": "record", "name": "Deep", "fields": [*POINT["fields"], {"name": "y", "type": "int", "default": 0}]},
        {"type": "record", "name": "Flat", "fields": POINT["fields"]},
    ]),
    ("sizes", {"type": "array", "items": ["null", {"type": "map", "values": ["float", "double"]}]}),
    ("word", [{"type": "enum", "name": "Word", "symbols": ["yes"]}, "string"]),
    ("words", ["null", {"type": "array", "items": "string"}]),
)  # fmt: skip


@dataclass(frozen=True)
class Vector:
    """An event, the schema that its subject has, and its bytes."""

    name: str
    subject: str
    schema: Any
    payload: Any
    body: bytes
    callback: bytes = b"\x00"
    callback_id: bytes = b"\x00"
    meta: Mapping[str, Any] | None = None

    @property
    def value(self) -> bytes:
        """As a branch of KaufmannEx's union: the second, so the index 1."""
        return b"\x02" + metadata(self.name, self.callback, self.callback_id) + self.body


def in_union(event: Any) -> Any:
    return [METADATA, event]


VECTORS = {
    "text": Vector(
        "test.event.publish", "test.event.publish", in_union(event_of("test.event.publish", "string")),
        "Hello World", b"\x16Hello World",
    ),
    "command": Vector(
        "command.order.place", "command.order.place",
        in_union(event_of("command.order.place", record_of(("id", "string"), ("note", ["null", "string"])))),
        {"id": "é", "note": None}, b"\x04\xc3\xa9\x00",
    ),
    "query": Vector(
        "query.req.user.find", "query.req", in_union(event_of("query.req", record_of(("query_params", ANY_OF)))),
        {"query_params": {"id": "7"}}, b"\x04" + b"\x02\x04id\x00\x027" + b"\x00",
    ),
    "answer": Vector(
        "query.res.user.find", "query.res", in_union(event_of("query.res", record_of(("results", ANY_OF)))),
        {"results": {"rows": [{"id": "7"}, {}]}},
        b"\x04" + b"\x02" + text("rows") + b"\x02" + b"\x04" + b"\x02\x04id\x027\x00" + b"\x00" + b"\x00" + b"\x00",
    ),
    "error": Vector(
        "event.error.query.req.user.find", "event.error",
        in_union(event_of("event.error", record_of(("error", ANY_OF)))),
        {"error": "no luck"}, b"\x02\x0eno luck",
    ),
    "callback": Vector(
        "order.placed", "order.placed", in_union(event_of("order.placed", "string")), "", b"\x00",
        callback=b"\x02" + b"\x02" + text("replies") + b"\x02" + number(70), callback_id=b"\x02" + text("c1"),
        meta={"callback_id": "c1", "callback_topic": {"topic": "replies", "partition": 70}},
    ),
    "callback without a partition": Vector(
        "order.placed", "order.placed", in_union(event_of("order.placed", "string")), "", b"\x00",
        callback=b"\x02" + b"\x02" + text("replies") + b"\x00",
        meta={"callback_topic": {"topic": "replies", "partition": None}},
    ),
    "metadata": Vector(
        "order.placed", "order.placed", in_union(event_of("order.placed", "string", "metadata")), "x", b"\x02x",
    ),
    "every type": Vector(
        "event.order.rich", "event.order.rich", in_union(event_of("event.order.rich", RICH)),
        {
            "id": "", "state": "SENT", "hash": b"\x00\xff\x01\xfe", "counts": {"a": 1, "b": -64},
            "sums": [None, 1.5, [0, -1]], "any": {"k": "v"}, "big": -(2**63), "flag": True, "ratio": 0.5,
            "raw": b"\x00\x80",
        },
        b"\x00" + b"\x04" + b"\x00\xff\x01\xfe"
        + b"\x04" + b"\x02a\x02" + b"\x02b\x7f" + b"\x00"
        + b"\x06" + b"\x00" + b"\x02" + struct.pack("<d", 1.5) + b"\x04" + b"\x04\x00\x01\x00" + b"\x00"
        + b"\x04" + b"\x02\x02k\x00\x02v" + b"\x00"
        + b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + b"\x01" + struct.pack("<f", 0.5) + b"\x04\x00\x80",
    ),
    "choices": Vector(
        "event.order.chosen", "event.order.chosen", in_union(event_of("event.order.chosen", CHOICES)),
        {
            "half": 1.5, "tenth": 0.1, "whole": 5, "nothing": None, "one": 1, "big": 2**31, "point": {"x": 1},
            "entry": {"y": 1}, "flat": {"x": 1}, "sizes": [{"a": 0.1}, None, {"b": 0.5}], "word": "no", "words": ["a"],
        },
        b"\x02\x00\x00\xc0\x3f" + b"\x04\x9a\x99\x99\x99\x99\x99\xb9\x3f" + b"\x06\x0a" + b"\x00" + b"\x02\x02"
        + b"\x02\x80\x80\x80\x80\x10" + b"\x00\x02" + b"\x02" + b"\x02\x02y\x02\x00" + b"\x02\x02"
        + b"\x06" + b"\x02\x02\x02a\x02\x9a\x99\x99\x99\x99\x99\xb9\x3f\x00" + b"\x00"
        + b"\x02\x02\x02b\x00\x00\x00\x00\x3f\x00" + b"\x00" + b"\x02\x04no" + b"\x02\x02\x02a\x00",
    ),
}  # fmt: skip


def meta_of(vector: Vector) -> dict[str, Any]:
    return {
        "message_id": "m1", "emitter_service": "shop", "emitter_service_id": "host-1", "callback_id": None,
        "message_name": vector.name, "timestamp": TIMESTAMP, "callback_topic": None, **(vector.meta or {}),
    }  # fmt: skip


class Scene:
    def __init__(self, subject: str, *versions: Any) -> None:
        self.config = load_config("shop", keywords={"service_id": "host-1"}, conf={}, environ={})
        self.transcoders = transcoders_of(InMemory(**{subject: list(versions)}), self.config)
        handlers = Handlers()
        for pattern in ("*", "event.error.*"):
            handlers.add(handler(pattern))
        self.decoder = Decoder(handlers, self.transcoders, service="another", max_event_bytes=10_000)
        self.composer = Composer(self.config, self.transcoders)

    def read(self, key: bytes, value: bytes) -> Event:
        """Decode what KaufmannEx wrote, without any header, and hand it over as a worker does."""
        decoded = self.decoder.decode(GoneRecord("orders", 3, 42, key, value, (), 1000))
        assert decoded is not None
        assert decoded.error is None
        return unpack(decoded.text, Position("orders", 3, 42), 1).event

    def write(self, vector: Vector, **options: Any) -> OutRecord:
        output = Output(vector.name, vector.payload, meta={"timestamp": TIMESTAMP, **(vector.meta or {})}, **options)
        (made,) = self.composer.compose(output, message_id="m1", now=NOW)
        return made


@pytest.fixture(params=VECTORS)
def vector(request: pytest.FixtureRequest) -> Vector:
    return VECTORS[request.param]


def test_what_kaufmann_ex_writes_is_read(vector: Vector) -> None:
    event = Scene(vector.subject, vector.schema).read(vector.name.encode(), vector.value)

    assert (event.name, event.payload, event.meta, event.id) == (vector.name, vector.payload, meta_of(vector), "m1")


def test_what_is_written_is_what_kaufmann_ex_writes(vector: Vector) -> None:
    made = Scene(vector.subject, vector.schema).write(vector)

    assert (made.key, made.value) == (vector.name.encode(), vector.value)


def test_what_is_written_bare_reads_with_the_latest_schema_of_its_subject_alone(vector: Vector) -> None:
    """All that KaufmannEx knows: no header, no id, no file."""
    made = Scene(vector.subject, vector.schema).write(vector)
    stream = io.BytesIO(made.value or b"")
    read: Any = fastavro.schemaless_reader(stream, fastavro.parse_schema(json.loads(json.dumps(vector.schema))), None)

    assert stream.read() == b""
    assert read["payload"] == vector.payload


def test_a_key_stays_out_of_name_and_subject() -> None:
    vector = VECTORS["command"]
    scene = Scene(vector.subject, vector.schema)

    assert scene.write(vector, key="k1").key == b"command.order.place#k1"
    event = scene.read(b"command.order.place#k1", vector.value)
    assert (event.name, event.key) == ("command.order.place", "k1")


#: What KaufmannEx itself wrote in 2019, by vector: the event's name, its payload, and all bytes.
RECORDED = {
    "text": (
        "test.event.publish", "Hello World",
        b"\x02*Uvg3WJbuU7iP_0OyMpG0V*jvwJYV-vFKLahkgQWW7ns*eRU3VFBOkbwdPvsqCbxtI\x00"
        b"$test.event.publish62019-05-27 23:00:56.844448Z\x00\x16Hello World",
    ),
    "query": (
        "query.req.something.other", {"query_params": "Hello World"},
        b"\x02*PRwUcNBp82dg4ljC-zCqt*yo90lyhSxKwVbLd4ZeNtz*O2aq7_T6LgnJ1Voxe0eQu\x00"
        b"2query.req.something.other62019-06-03 17:43:50.242128Z\x00\x02\x16Hello World",
    ),
    "error": (
        "event.error.query.req.something.other", {"error": "error"},
        b"\x02*qbBWuseXIsZhH3vB6wo6x*_hTyqVVEktyi6M-Rj551a*JzrPY7GCTSjWuSYhb1aMX\x00"
        b"Jevent.error.query.req.something.other62019-06-03 17:46:52.281163Z\x00\x02\nerror",
    ),
}  # fmt: skip


@pytest.mark.parametrize("like", RECORDED)
def test_what_kaufmann_ex_once_wrote_is_read_and_written_again(like: str) -> None:
    name, payload, value = RECORDED[like]
    scene = Scene(VECTORS[like].subject, VECTORS[like].schema)
    event = scene.read(name.encode(), value)

    assert (event.name, event.payload, event.meta["message_name"]) == (name, payload, name)
    assert datetime.fromisoformat(event.meta["timestamp"]).tzinfo is UTC
    (made,) = scene.composer.compose(Output(name, payload, meta=event.meta), message_id="m1", now=NOW)
    assert made.value == value


def test_blocks_may_be_written_in_parts_and_with_their_sizes() -> None:
    """Avro allows a negative count with the block's bytes after it, and any number of blocks."""
    vector = VECTORS["query"]
    sized = b"\x04" + b"\x01\x0c\x04id\x00\x027" + b"\x02\x02b\x00\x02c" + b"\x00"
    value = b"\x02" + metadata(vector.name) + sized

    event = Scene(vector.subject, vector.schema).read(vector.name.encode(), value)

    assert event.payload == {"query_params": {"id": "7", "b": "c"}}


def test_bytes_of_an_older_union_are_read_by_the_version_that_fits() -> None:
    old = [OLD_METADATA, event_of("order.placed", record_of(("id", "string")))]
    new = in_union(event_of("order.placed", record_of(("id", "string"), ("note", ["null", "string"]))))
    parts = text("m0"), text("shop"), text("host-1"), b"\x00", text("order.placed"), text(TIMESTAMP), text("A-1")
    scene = Scene("order.placed", old, new)

    event = scene.read(b"order.placed", b"\x02" + b"".join(parts))

    assert event.payload == {"id": "A-1"}
    assert event.meta == {
        "message_id": "m0", "emitter_service": "shop", "emitter_service_id": "host-1", "callback_id": None,
        "message_name": "order.placed", "timestamp": TIMESTAMP,
    }  # fmt: skip
    newer = b"\x02" + metadata("order.placed") + text("A-2") + b"\x02" + text("n")
    assert scene.read(b"order.placed", newer).payload == {"id": "A-2", "note": "n"}


def test_a_time_with_a_space_is_a_time_where_the_schema_asks_for_one() -> None:
    stamp = {"type": "long", "logicalType": "timestamp-micros"}
    fields = [{**field, "type": stamp} if field["name"] == "timestamp" else field for field in METADATA["fields"]]
    vector = VECTORS["text"]
    made = Scene(vector.subject, [{**METADATA, "fields": fields}, vector.schema[1]]).write(vector)

    micros = 1_709_208_000_123_456
    parts = text("m1"), text("shop"), text("host-1"), b"\x00", text(vector.name), number(micros), b"\x00", vector.body
    assert made.value == b"\x02" + b"".join(parts)


def test_an_error_event_is_one_that_kaufmann_ex_reads() -> None:
    vector = VECTORS["error"]
    scene = Scene(vector.subject, vector.schema)
    events = ErrorEvents(scene.config, scene.composer, scene.transcoders.avro)
    failed = FailedEvent(
        "query.req.user.find", Position("orders", 3, 42), "ValueError", "no luck", 1, 1000,
        meta={"callback_id": "c1", "callback_topic": {"topic": "replies", "partition": 1}},
    )  # fmt: skip
    back, usual = events.records(failed, incarnation="i", now=NOW)

    assert back.key == usual.key == b"event.error.query.req.user.find"
    assert (back.topic, back.partition) == ("replies", 1)
    assert usual.value is not None
    assert back.value == usual.value
    assert usual.value[:1] == b"\x02"
    assert usual.value.endswith(
        b"\x02" + text("c1") + text(vector.name) + text(NOW.isoformat()) + b"\x00" + vector.body
    )


def test_an_output_carries_the_callback_id_on_and_answers_to_the_callback_topic() -> None:
    asked, answer = VECTORS["callback"], VECTORS["answer"]
    event = Scene(asked.subject, asked.schema).read(asked.name.encode(), asked.value)
    scene = Scene(answer.subject, answer.schema)
    output = Output(answer.name, answer.payload, reply=True, meta={"timestamp": TIMESTAMP})
    back, usual = scene.composer.compose(output, message_id="m1", now=NOW, cause=Cause.of(event))

    assert (back.topic, back.partition, usual.topic) == ("replies", 70, "shop")
    assert back.value == usual.value == b"\x02" + metadata(answer.name, callback_id=b"\x02" + text("c1")) + answer.body
