"""Unions of which several branches may take a value: what AvroEx would write, and what where it would write nothing."""

from __future__ import annotations

import struct
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kaufmann_celery.transcoders.avro import AvroSchema
from kaufmann_celery.transcoders.avro_choice import chooser_of
from kaufmann_celery.transcoders.avro_parse import parse
from tests.unit.test_avro import field, number, record, text

LIST = {"type": "array", "items": "int"}
CHOICE = ["null", "float", "double"]


def double(value: float) -> bytes:
    return struct.pack("<d", value)


def written(kind: Any, value: Any) -> bytes:
    return AvroSchema(record(field("x", kind))).encode({"x": value}, {})


@pytest.mark.parametrize(
    ("union", "value", "body"),
    [
        (["null", "double", "float"], 1.5, b"\x02" + double(1.5)),
        (["float", "double"], 1e300, b"\x02" + double(1e300)),
        (["long", "int"], 5, b"\x00\x0a"),
        (["int", "boolean"], True, b"\x02\x01"),
        (
            [record(field("a", "float"), name="A"), record(field("a", "double"), name="B")],
            {"a": 0.1}, b"\x02" + double(0.1),
        ),
        ([record(field("a", LIST), name="A"), {"type": "map", "values": LIST}], {"a": (1,)}, b"\x00\x02\x02\x00"),
        ([{"type": "fixed", "name": "F", "size": 2}, "bytes"], b"abc", b"\x02\x06abc"),
    ],
)  # fmt: skip
def test_the_first_branch_that_loses_nothing_is_taken(union: Any, value: Any, body: bytes) -> None:
    assert written(union, value) == body


@pytest.mark.parametrize(
    ("union", "value", "body"),
    [
        (["float", "double"], 2**24 + 1, b"\x02" + double(2**24 + 1)),
        (["string", "float"], 0.1, b"\x02" + struct.pack("<f", 0.1)),
        (
            [record(field("a", "int", default=7), field("b", "int"), name="A"), record(field("c", "int"), name="B")],
            {"b": 1}, b"\x00\x0e\x02",
        ),
    ],
)  # fmt: skip
def test_what_avro_ex_would_refuse_goes_where_it_loses_least(union: Any, value: Any, body: bytes) -> None:
    assert written(union, value) == body


def test_logical_types_are_told_apart_by_their_values() -> None:
    money = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
    number_of_16 = {"type": "fixed", "name": "N", "size": 16, "logicalType": "uuid"}

    assert written([number_of_16, money], Decimal("1.00")) == b"\x02\x02\x64"
    assert written([number_of_16, "bytes"], UUID(int=1)) == b"\x00" + bytes(15) + b"\x01"


def test_a_tuple_beside_a_choice_is_an_array() -> None:
    schema = AvroSchema(record(field("x", CHOICE), field("y", ["null", LIST])))

    assert schema.encode({"x": None, "y": (1, 2)}, {}) == b"\x00" + b"\x02\x04\x02\x04\x00"


def test_a_default_is_written_as_what_was_given_is() -> None:
    schema = AvroSchema(record(field("x", ["float", "double"], default=1.5)))

    assert schema.encode({}, {}) == b"\x00" + struct.pack("<f", 1.5)


def test_a_payload_stays_as_it_is() -> None:
    payload = {"x": [{"y": 1.5}]}
    schema = AvroSchema(record(field("x", {"type": "array", "items": record(field("y", CHOICE), name="In")})))
    schema.encode(payload, {})

    assert payload == {"x": [{"y": 1.5}]}


def test_a_choice_may_be_deep() -> None:
    end = record(field("word", "string"), name="end")
    schema = AvroSchema(record(field("next", ["null", "link", end]), name="link"))
    payload: Any = {"next": {"word": "a"}}
    for _ in range(300):
        payload = {"next": payload}

    assert schema.encode(payload, {}) == b"\x02" * 300 + b"\x04" + text("a")


@pytest.mark.parametrize(
    "union", [["null", "string"], ["null", "string", "long"], ["string", LIST], ["bytes", "string"]]
)
def test_where_no_value_fits_two_branches_nothing_is_chosen(union: Any) -> None:
    parsed = parse(record(field("x", union)))

    assert chooser_of(parsed.schema, parsed.named) is None


def test_a_union_that_avro_forbids_is_written_by_whichever_fits() -> None:
    assert written(["int", {"type": "int", "logicalType": "time-millis"}], 1) == b"\x00" + number(1)
