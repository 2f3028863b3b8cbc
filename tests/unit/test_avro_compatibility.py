from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery.errors import DecodeError
from kaufmann_celery.transcoders.avro import AvroSchema
from kaufmann_celery.transcoders.avro_compatibility import misfits
from kaufmann_celery.transcoders.avro_parse import parse


def record(name: str = "Order", /, *fields: dict[str, Any], **types: Any) -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [*fields, *({"name": field, "type": kind} for field, kind in types.items())],
    }


def compared(before: Any, now: Any) -> list[str]:
    return misfits(parse(now), parse(before))


ENUM = {"type": "enum", "name": "State", "symbols": ["open", "paid", "sent"]}
NARROW = {**ENUM, "symbols": ["open"]}
BYTES_16 = {"type": "fixed", "name": "Hash", "size": 16}
MONEY = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
TIME = {"type": "long", "logicalType": "timestamp-millis"}


def items(price: Any) -> Any:
    return {"type": "array", "items": record("Item", price=price)}


def map_of(values: Any) -> Any:
    return {"type": "map", "values": values}


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (
            record(payload=record("P", items=items("double"))),
            record(payload=record("P", items=items("string"))),
            ["payload.items[].price: double -> string"],
        ),
        (record(a="long"), record(a="int"), ["a: long -> int"]),
        (record(a="int"), record(a="int", b="int"), ["b: is new and has no default"]),
        (record(a=["null", "double"]), record(a=["null", "string"]), ["a: double -> string"]),
        (record(a=["null", "string"]), record(a="string"), ["a: null or string -> string"]),
        (record(a=["null", "string"]), record(a=["string", "int"]), ["a: null -> string or int"]),
        (record(a=["null", "string", "int"]), record(a=["null", "string"]), ["a: int is no branch any more"]),
        (record(a=["null", "string"]), record(a=["string"]), ["a: null is no branch any more"]),
        (
            record(a=["null", record("Gone"), "int"]), record(a=["null", "long"]),
            ["a: record Gone is no branch any more"],
        ),
        (record(a="boolean"), record(a=["string", "int"]), ["a: boolean -> string or int"]),
        (record(a=map_of("int")), record(a=map_of("bytes")), ["a[…]: int -> bytes"]),
        (record(a=ENUM), record(a=NARROW), ["a: enum State has no paid, sent any more, and no default"]),
        (
            record(a=BYTES_16),
            record(a={**BYTES_16, "size": 8}),
            ["a: fixed Hash of 16 bytes -> fixed Hash of 8 bytes"],
        ),
        (record(a=MONEY), record(a={**MONEY, "scale": 3}), ["a: decimal(9, 2) -> decimal(9, 3)"]),
        (record(a=record("Inner")), record(a=record("Other")), ["a: record Inner -> record Other"]),
        (record("A", a="int"), record("B", a="int"), ["the whole value: record A -> record B"]),
        (record(a="int", b="int"), record(a="string", b="bytes"), ["a: int -> string", "b: int -> bytes"]),
        (
            [record("meta", id="string"), record(a="int")],
            [record("meta", id="string"), record(a="string")],
            ["a: int -> string"],
        ),
        (
            [record("meta"), record(a="int")],
            record(a="int"),
            ["the whole value: record meta or record Order -> record Order"],
        ),
        (
            record("Node", value="int", next=["null", "Node"]),
            record("Node", value="string", next=["null", "Node"]),
            ["value: int -> string"],
        ),
    ],
)  # fmt: skip
def test_a_field_at_fault_is_named(before: Any, now: Any, said: list[str]) -> None:
    assert compared(before, now) == said


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (record(a="int", b="int"), record(a="double")),
        (record(a="int"), record("Order", {"name": "b", "type": "int", "default": 1}, a="int")),
        (record(a="int"), record(a=["null", "long"])),
        (record(a="string"), record(a="bytes")),
        (record(a=TIME), record(a="long")),
        (record(old="int"), record("Order", {"name": "new", "type": "int", "aliases": ["old"]})),
        (record("Old", a="int"), {**record("New", a="int"), "aliases": ["Old"]}),
        ({**record("Order"), "namespace": "com.acme"}, {**record("Order"), "namespace": "com.other"}),
        (record(a=ENUM), record(a={**NARROW, "default": "open"})),
        (record(a=NARROW), record(a=ENUM)),
        (record(a="int"), [record("meta"), record(a="int")]),
        (record("Node", next=["null", "Node"]), record("Node", next=["null", "Node"])),
        (record(a=MONEY, b=BYTES_16), record(a=MONEY, b=BYTES_16)),
    ],
)
def test_what_can_be_read_is_no_misfit(before: Any, now: Any) -> None:
    assert compared(before, now) == []


def test_a_type_used_twice_is_named_at_each_place() -> None:
    before = record(a=record("Money", sum="double"), b="Money")
    now = record(a=record("Money", sum="string"), b="Money")

    assert compared(before, now) == ["a.sum: double -> string", "b.sum: double -> string"]


SIMPLE = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])
TYPES = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(lambda values: {"type": "map", "values": values}, inner),
        st.lists(SIMPLE, min_size=1, max_size=3, unique=True),
    ),
    max_leaves=4,
)
VALUES = {
    "null": None, "boolean": True, "int": 7, "long": 7, "float": 1.5, "double": 1.5, "bytes": b"x", "string": "x",
}  # fmt: skip


def value_of(kind: Any) -> Any:
    """Return a value that a writer of *kind* may write."""
    if isinstance(kind, list):
        return value_of(kind[-1])
    if isinstance(kind, dict):
        return [value_of(kind["items"])] if kind["type"] == "array" else {"k": value_of(kind["values"])}
    return VALUES[kind]


@given(before=TYPES, now=TYPES)
def test_where_nothing_is_at_fault_a_value_is_read(before: Any, now: Any) -> None:
    """The other way round it need not hold: one value may be readable where another is not."""
    if compared(record(a=before), record(a=now)):
        return
    written = AvroSchema(record(a=before)).encode({"a": value_of(before)}, {})
    try:
        AvroSchema(record(a=before), reader=record(a=now)).decode(written)
    except DecodeError as error:
        raise AssertionError(f"{before} is not read as {now}") from error
