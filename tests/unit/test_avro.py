"""Bytes here are put together by hand from the Avro specification, never by the encoder under test."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kaufmann_celery.errors import DecodeError, EncodeError, EventError
from kaufmann_celery.transcoders.avro import AvroSchema


def number(value: int) -> bytes:
    """Zig-zag and variable length, as the specification describes it."""
    left = (value << 1) ^ (value >> 63)
    out = b""
    while left > 0x7F:
        out += bytes([left & 0x7F | 0x80])
        left >>= 7
    return out + bytes([left])


def text(value: str) -> bytes:
    data = value.encode()
    return number(len(data)) + data


METADATA = {
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
        {
            "name": "callback_topic",
            "type": [
                "null",
                {
                    "type": "record",
                    "name": "callback_topic",
                    "fields": [{"name": "topic", "type": "string"}, {"name": "partition", "type": "int"}],
                },
            ],
            # As KaufmannEx's own schema has it, though Avro forbids it.
            "default": "null",
        },
    ],
}
ITEM = {
    "type": "record",
    "name": "item",
    "fields": [{"name": "sku", "type": "string"}, {"name": "price", "type": "double"}],
}
EVENT = {
    "type": "record",
    "name": "order.placed",
    "fields": [
        {"name": "meta", "type": "seven.cloud.services.event_metadata"},
        {
            "name": "payload",
            "type": {
                "type": "record",
                "name": "payload_of_order",
                "fields": [
                    {"name": "id", "type": "string"},
                    {"name": "items", "type": {"type": "array", "items": ITEM}, "default": []},
                    {"name": "note", "type": ["null", "string"]},
                ],
            },
        },
    ],
}
META = {
    "message_id": "m1",
    "emitter_service": "orders",
    "emitter_service_id": "host-1",
    "callback_id": None,
    "message_name": "order.placed",
    "timestamp": "2024-02-29T01:02:03Z",
    "callback_topic": {"topic": "replies", "partition": 3},
}
PAYLOAD = {"id": "o1", "items": [{"sku": "a", "price": 1.5}], "note": None}
META_BYTES = (
    text("m1")
    + text("orders")
    + text("host-1")
    + b"\x00"
    + text("order.placed")
    + text("2024-02-29T01:02:03Z")
    + b"\x02"
    + text("replies")
    + number(3)
)
PAYLOAD_BYTES = text("o1") + number(1) + text("a") + struct.pack("<d", 1.5) + b"\x00" + b"\x00"
UNION_BYTES = b"\x02" + META_BYTES + PAYLOAD_BYTES


def record(*fields: Any, name: str = "r") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def test_kaufmann_ex_union_reads_and_writes_byte_for_byte() -> None:
    schema = AvroSchema([METADATA, EVENT])
    assert schema.decode(UNION_BYTES) == (PAYLOAD, META)
    assert schema.encode(PAYLOAD, META) == UNION_BYTES
    assert (schema.carries_meta, schema.name) == (True, "order.placed")


def test_the_same_event_as_a_record_with_a_reference_has_no_union_index() -> None:
    schema = AvroSchema(EVENT, named=[METADATA])
    assert schema.decode(UNION_BYTES[1:]) == (PAYLOAD, META)
    assert schema.encode(PAYLOAD, META) == UNION_BYTES[1:]


def test_a_union_of_names_needs_only_its_references() -> None:
    schema = AvroSchema(["seven.cloud.services.event_metadata", "order.placed"], named=[METADATA, EVENT])
    assert schema.decode(UNION_BYTES) == (PAYLOAD, META)
    assert schema.encode(PAYLOAD, META) == UNION_BYTES


def test_metadata_is_as_good_a_name_as_meta() -> None:
    schema = AvroSchema(record(field("metadata", record(field("a", "int"), name="m")), field("payload", "string")))
    assert schema.decode(number(5) + text("x")) == ("x", {"a": 5})
    assert schema.encode("x", {"a": 5}) == number(5) + text("x")


def test_a_plain_record_is_all_payload() -> None:
    schema = AvroSchema(record(field("a", "int")))
    assert schema.decode(number(5)) == ({"a": 5}, {})
    assert schema.encode({"a": 5}, META) == number(5)
    assert not schema.carries_meta


@pytest.mark.parametrize(("schema", "body", "value"), [("string", text("é"), "é"), (["null", "int"], b"\x02\x08", 4)])
def test_a_type_without_a_name_is_all_payload(schema: Any, body: bytes, value: Any) -> None:
    avro = AvroSchema(schema)
    assert avro.decode(body) == (value, {})
    assert avro.encode(value, {}) == body
    assert avro.name == ""


def test_only_meta_fields_that_the_schema_has_are_written() -> None:
    assert AvroSchema([METADATA, EVENT]).encode(PAYLOAD, META | {"further": 1}) == UNION_BYTES


def test_a_meta_timestamp_may_have_a_logical_type() -> None:
    stamp = {"type": "long", "logicalType": "timestamp-millis"}
    schema = AvroSchema(record(field("meta", record(field("timestamp", stamp), name="m")), field("payload", "int")))
    body = number(1_709_168_523_000) + number(1)
    assert schema.encode(1, {"timestamp": "2024-02-29T01:02:03Z"}) == body
    assert schema.decode(body) == (1, {"timestamp": datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)})


LOGICAL: list[tuple[Any, bytes, Any]] = [
    ({"type": "int", "logicalType": "date"}, number(1), date(1970, 1, 2)),
    ({"type": "int", "logicalType": "time-millis"}, number(1001), time(0, 0, 1, 1000)),
    ({"type": "long", "logicalType": "time-micros"}, number(1_000_001), time(0, 0, 1, 1)),
    (
        {"type": "long", "logicalType": "timestamp-millis"},
        number(-1),
        datetime(1969, 12, 31, 23, 59, 59, 999000, UTC),
    ),
    ({"type": "long", "logicalType": "timestamp-micros"}, number(1), datetime(1970, 1, 1, 0, 0, 0, 1, UTC)),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, number(1), datetime(1970, 1, 1, 0, 0, 0, 1)),
    ({"type": "long", "logicalType": "timestamp-nanos"}, number(1), 1),
    (
        {"type": "string", "logicalType": "uuid"},
        text("12345678-1234-5678-1234-567812345678"),
        UUID(int=0x12345678123456781234567812345678),
    ),
    ({"type": "fixed", "name": "u", "size": 16, "logicalType": "uuid"}, bytes(15) + b"\x01", UUID(int=1)),
    ({"type": "fixed", "name": "d", "size": 12, "logicalType": "duration"}, bytes(12), bytes(12)),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
        number(2) + b"\xfb\x2e",
        Decimal("-12.34"),
    ),
    (
        {"type": "fixed", "name": "f", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 2},
        b"\x04\xd2",
        Decimal("12.34"),
    ),
]


@pytest.mark.parametrize(("schema", "body", "value"), LOGICAL, ids=lambda case: str(case)[:40])
def test_logical_types_are_pythons_own(schema: Any, body: bytes, value: Any) -> None:
    avro = AvroSchema(record(field("x", ["null", schema])))
    assert avro.decode(b"\x02" + body) == ({"x": value}, {})
    assert avro.encode({"x": value}, {}) == b"\x02" + body


def test_a_decimal_with_more_digits_than_its_precision_is_not_rounded() -> None:
    schema = AvroSchema({"type": "bytes", "logicalType": "decimal", "precision": 2, "scale": 2})
    assert schema.decode(number(8) + (123_456_789).to_bytes(8, "big"))[0] == Decimal("1234567.89")


ENUM = {"type": "enum", "name": "e", "symbols": ["A", "B"]}
BROKEN: list[tuple[Any, bytes]] = [
    ("string", b""),
    ("string", number(3) + b"ab"),
    ("string", number(2**31) + b"ab"),
    ("string", number(2**62) + b"ab"),
    ("string", number(-2) + b"ab"),
    ("bytes", number(-1)),
    ("string", number(2) + b"\xff\xfe"),
    ("long", b"\xff" * 20),
    ("double", b"1234567"),
    ("boolean", b""),
    ({"type": "fixed", "name": "f", "size": 4}, b"abc"),
    (ENUM, number(2)),
    (ENUM, number(-1)),
    (["null", "int"], number(2) + b"\x00"),
    (["null", "int"], number(-1) + b"\x00"),
    (["null", "int"], number(2**40)),
    (record(field("u", ["null", "int"])), number(-1) + b"\x00"),
    (record(field("u", ["null", "int"])), number(2**40)),
    ({"type": "array", "items": "int"}, number(2**40) + b"\x00"),
    ({"type": "array", "items": "null"}, number(2**40) + b"\x00"),
    ({"type": "array", "items": {"type": "fixed", "name": "f", "size": 0}}, number(-(2**40)) + b"\x00\x00"),
    ({"type": "array", "items": record()}, (number(60_000)) * 2 + b"\x00"),
    ({"type": "map", "values": "int"}, number(1) + number(1) + b"\xff" + b"\x00\x00"),
    ({"type": "int", "logicalType": "date"}, number(2**31 - 1)),
    ({"type": "int", "logicalType": "time-millis"}, number(2**31 - 1)),
    ({"type": "long", "logicalType": "timestamp-millis"}, number(2**62)),
    ({"type": "string", "logicalType": "uuid"}, text("no uuid")),
    ({"type": "bytes", "logicalType": "decimal", "precision": 4}, number(10_000) + bytes(10_000)),
]


@pytest.mark.parametrize(("schema", "body"), BROKEN, ids=lambda case: repr(case)[:40])
def test_broken_bytes_are_a_decode_error(schema: Any, body: bytes) -> None:
    with pytest.raises(DecodeError):
        AvroSchema(schema).decode(body)


@pytest.mark.parametrize("left_over", [b"\x00", b"7", b"a" * 100])
def test_left_over_bytes_are_a_decode_error(left_over: bytes) -> None:
    with pytest.raises(DecodeError, match="left over"):
        AvroSchema([METADATA, EVENT]).decode(UNION_BYTES + left_over)


def test_every_truncation_is_a_decode_error() -> None:
    schema = AvroSchema([METADATA, EVENT])
    for end in range(len(UNION_BYTES)):
        with pytest.raises(DecodeError):
            schema.decode(UNION_BYTES[:end])


def test_an_array_of_few_nulls_is_read() -> None:
    assert AvroSchema({"type": "array", "items": "null"}).decode(number(3) + b"\x00") == ([None] * 3, {})


FAULTS: list[tuple[Any, str]] = [
    (
        PAYLOAD | {"items": [{"sku": "secret", "price": 1.0}, {"sku": "b", "price": "secret"}]},
        "payload.items[1].price: expected double, got str",
    ),
    (PAYLOAD | {"items": [{"sku": "a", "price": True}]}, "payload.items[0].price: expected double, got bool"),
    (PAYLOAD | {"items": "secret"}, "payload.items: expected array, got str"),
    (PAYLOAD | {"note": 5}, "payload.note: expected string, got int"),
    (PAYLOAD | {"note": b"secret"}, "payload.note: expected string, got bytes"),
    (
        PAYLOAD | {"note": "secret\ud800"},
        "payload.note: expected text that UTF-8 can hold, got half of a surrogate pair",
    ),
    (PAYLOAD | {"colour": "secret"}, "payload.colour: record payload_of_order has no such field"),
    ({"note": "secret"}, "payload.id: missing, and the schema has no default for it"),
    (PAYLOAD | {"id": None}, "payload.id: expected string, got null"),
    (["secret"], "payload: expected record payload_of_order, got list"),
]


@pytest.mark.parametrize(("payload", "message"), FAULTS, ids=lambda case: str(case)[-30:])
def test_an_encode_error_has_the_path_and_not_the_value(payload: Any, message: str) -> None:
    event = {**EVENT, "name": "placed"}
    with pytest.raises(EncodeError) as caught:
        AvroSchema([METADATA, event]).encode(payload, META)
    assert str(caught.value) == message
    assert caught.value.__cause__ is None


def test_meta_that_lacks_a_field_is_named_as_well() -> None:
    with pytest.raises(EncodeError, match=r"^meta\.message_id: missing"):
        AvroSchema([METADATA, EVENT]).encode(PAYLOAD, {})


WRONG: list[tuple[Any, Any]] = [
    ("int", True),
    ("int", 2**31),
    ("int", 1.0),
    ("int", "1"),
    ("long", 2**63),
    ("boolean", 1),
    ("boolean", "x"),
    ("float", 1e300),
    ("float", True),
    ("double", 10**400),
    ("double", Decimal(1)),
    ("string", b"x"),
    ("bytes", "x"),
    ("null", 0),
    ({"type": "fixed", "name": "f", "size": 2}, b"abc"),
    ({"type": "fixed", "name": "f", "size": 2}, "ab"),
    (ENUM, "C"),
    (ENUM, ["A"]),
    ({"type": "array", "items": "int"}, {1}),
    ({"type": "array", "items": "string"}, "ab"),
    ({"type": "map", "values": "int"}, {1: 1}),
    ({"type": "map", "values": "int"}, {"secret": "x"}),
    (["null", "int", "string"], 1.5),
    ({"type": "int", "logicalType": "date"}, datetime(2024, 1, 1, tzinfo=UTC)),
    ({"type": "long", "logicalType": "timestamp-micros"}, datetime(2024, 1, 1)),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, datetime(2024, 1, 1, tzinfo=UTC)),
    ({"type": "long", "logicalType": "timestamp-millis"}, "2024-01-01T00:00:00Z"),
    ({"type": "string", "logicalType": "uuid"}, "secret"),
    ({"type": "int", "logicalType": "time-millis"}, "secret"),
    *[
        ({"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}, bad)
        for bad in (Decimal("1.23"), Decimal(123), Decimal("1E+2"), Decimal("NaN"), 1.5, 5)
    ],
]


@pytest.mark.parametrize(("schema", "value"), WRONG, ids=repr)
def test_no_value_is_bent_to_fit(schema: Any, value: Any) -> None:
    with pytest.raises(EncodeError, match=r"^payload\.x") as caught:
        AvroSchema(record(field("x", schema))).encode({"x": value}, {})
    assert "secret" not in str(caught.value)


def test_a_record_in_a_union_of_several_is_named_by_its_deepest_fault() -> None:
    union = [
        record(field("a", "int"), name="one"),
        record(field("b", record(field("c", "int"), name="in")), name="two"),
    ]
    with pytest.raises(EncodeError, match=r"^payload\.x\.b\.c: expected int, got str"):
        AvroSchema(record(field("x", union))).encode({"x": {"b": {"c": "no"}}}, {})


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"q": 1, "w": 5}, r"payload\.x\.w: expected string, got int"),
        ({"q": "1", "w": "5"}, r"payload\.x\.q: expected int, got str"),
        ({"q": 1, "v": 5}, r"payload\.x\.v: record narrow has no such field"),
        ({"q": 1, "in": {"c": 1}, "w": 5}, r"payload\.x\.in\.c: expected string, got int"),
    ],
)
def test_the_record_of_a_union_that_has_the_values_fields_says_what_is_wrong(value: Any, fault: str) -> None:
    inner = record(field("c", "string"), name="inner")
    union = [
        "null",
        record(field("q", "int"), name="narrow"),
        record(field("q", "int"), field("w", "string"), name="wide"),
        record(field("q", "int"), field("w", "int"), field("in", inner), name="deep"),
    ]
    with pytest.raises(EncodeError, match=f"^{fault}"):
        AvroSchema(record(field("x", union))).encode({"x": value}, {})


def test_a_tuple_is_an_array_also_in_a_union() -> None:
    schema = AvroSchema(record(field("x", ["null", {"type": "array", "items": "string"}])))
    assert schema.encode({"x": ("a", "b")}, {}) == b"\x02" + number(2) + text("a") + text("b") + b"\x00"


def test_fields_left_out_take_their_default_or_null() -> None:
    stamp = {"type": "int", "logicalType": "date"}
    fields = [
        field("a", "bytes", default="\u00ff"),
        field("b", stamp, default=1),
        field("c", ["null", "int"]),
    ]
    assert AvroSchema(record(*fields)).encode({}, {}) == number(1) + b"\xff" + number(1) + b"\x00"


def test_defaults_of_the_reader_are_of_their_types() -> None:
    point = record(field("p", "float", default=1), name="point")
    new = [
        field("raw", "bytes", default="\u00ff"),
        field("day", {"type": "int", "logicalType": "date"}, default=1),
        field("at", point, default={}),
        field("tags", {"type": "array", "items": "bytes"}, default=["a"]),
        field("maybe", ["null", "int"], default=None),
    ]
    schema = AvroSchema(record(field("a", "int")), reader=record(field("a", "long"), *new))
    expected = {
        "a": 1,
        "raw": b"\xff",
        "day": date(1970, 1, 2),
        "at": {"p": 1.0},
        "tags": [b"a"],
        "maybe": None,
    }
    assert schema.decode(number(1)) == (expected, {})


def test_a_reader_schema_that_drops_a_field_still_reads_every_byte() -> None:
    schema = AvroSchema(record(field("a", "int"), field("b", "string")), reader=record(field("a", "int")))
    assert schema.decode(number(1) + text("x")) == ({"a": 1}, {})
    with pytest.raises(DecodeError):
        schema.decode(number(1) + text("x") + b"\x00")


def test_kaufmann_ex_unions_resolve_into_one_another() -> None:
    fields = EVENT["fields"]
    assert isinstance(fields, list)
    payload = fields[1]["type"]
    newer = {**payload, "fields": [*payload["fields"], field("extra", "int", default=7)]}
    reader = [METADATA, {**EVENT, "fields": [fields[0], {**fields[1], "type": newer}]}]
    assert AvroSchema([METADATA, EVENT], reader=reader).decode(UNION_BYTES) == (PAYLOAD | {"extra": 7}, META)


def test_an_envelope_resolves_into_its_union_and_back() -> None:
    meta = record(field("id", "int"), name="m")
    alone = record(field("meta", meta), field("payload", "string"), name="placed")
    union = [METADATA, alone]
    assert AvroSchema(alone, reader=union).decode(number(1) + text("x")) == ("x", {"id": 1})
    assert AvroSchema(union, reader=alone).decode(b"\x02" + number(1) + text("x")) == ("x", {"id": 1})


def test_a_reader_schema_that_cannot_take_the_writers_is_a_decode_error() -> None:
    schema = AvroSchema(record(field("a", "int")), reader=record(field("b", "int")))
    with pytest.raises(DecodeError, match="schema_path"):
        schema.decode(number(1))


@pytest.mark.parametrize(
    "schema",
    [
        5,
        None,
        {},
        {"type": "record"},
        {"type": "enum", "name": "e"},
        record(field("a", "nowhere")),
        record({"name": "a"}),
        record(field("a", "bytes", default=5)),
    ],
    ids=repr,
)
def test_what_is_no_avro_schema_is_said_so(schema: Any) -> None:
    with pytest.raises(EventError, match="not valid Avro"):
        AvroSchema(schema)
