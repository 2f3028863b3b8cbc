"""Any schema, any data of it: bytes to payload to Redis' text and back, the same in value and type."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from itertools import count
from typing import Any
from uuid import UUID

import fastavro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kombu.utils.json import dumps as kombu_dumps
from kombu.utils.json import loads as kombu_loads

from kaufmann_celery.transcoders.avro import AvroSchema
from kaufmann_celery.transcoders.payload_codec import dumps, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["~:bytes", '"~:=', "__type__"])
FLOATS = st.floats(width=32) | st.sampled_from([math.nan, math.inf, -math.inf, -0.0])
FIRST, LAST = datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)
LONGS = st.integers(-(2**63), 2**63 - 1)


def whole_millis(value: Any) -> Any:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    largest = 10**precision - 1
    return st.integers(-largest, largest).map(lambda unscaled: Decimal(unscaled).scaleb(-scale))


Case = tuple[Any, st.SearchStrategy[Any]]
NAIVE = st.datetimes(FIRST, LAST)
AWARE = NAIVE.map(lambda moment: moment.replace(tzinfo=UTC))
SCALARS: list[Case] = [
    ("null", st.none()),
    ("boolean", st.booleans()),
    ("int", st.integers(-(2**31), 2**31 - 1)),
    ("long", LONGS),
    ("float", FLOATS),
    ("double", st.floats() | FLOATS),
    ("string", TEXT),
    ("bytes", st.binary()),
    ({"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 5}, decimals(20, 5)),
    ({"type": "int", "logicalType": "date"}, st.dates(date(1, 1, 1), date(9999, 12, 31))),
    ({"type": "int", "logicalType": "time-millis"}, st.times().map(whole_millis)),
    ({"type": "long", "logicalType": "time-micros"}, st.times(time.min, time.max)),
    ({"type": "long", "logicalType": "timestamp-millis"}, AWARE.map(whole_millis)),
    ({"type": "long", "logicalType": "timestamp-micros"}, AWARE),
    ({"type": "long", "logicalType": "timestamp-nanos"}, LONGS),
    ({"type": "long", "logicalType": "local-timestamp-millis"}, NAIVE.map(whole_millis)),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, NAIVE),
    ({"type": "string", "logicalType": "uuid"}, st.uuids()),
]
NAMED: list[Callable[[str], Case]] = [
    lambda name: (
        {"type": "enum", "name": name, "symbols": ["A", "B", "_c"]},
        st.sampled_from(["A", "B", "_c"]),
    ),
    lambda name: ({"type": "fixed", "name": name, "size": 5}, st.binary(min_size=5, max_size=5)),
    lambda name: ({"type": "fixed", "name": name, "size": 16, "logicalType": "uuid"}, st.uuids()),
    lambda name: (
        {"type": "fixed", "name": name, "size": 12, "logicalType": "duration"},
        st.binary(min_size=12, max_size=12),
    ),
    lambda name: (
        {"type": "fixed", "name": name, "size": 9, "logicalType": "decimal", "precision": 20, "scale": 3},
        decimals(20, 3),
    ),
]
#: Branches that no value of another one fits, so that a union's branch is told by the value.
APART: list[Case] = [SCALARS[index] for index in (0, 1, 3, 6, 7)]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    return draw_case(draw, 3, count())


def draw_case(draw: st.DrawFn, depth: int, names: Any) -> Case:
    kind = draw(st.sampled_from(["scalar", "named", "array", "map", "union", "record"][: 6 if depth else 2]))
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    if kind == "named":
        return draw(st.sampled_from(NAMED))(f"n{next(names)}")
    if kind == "union":
        return draw_union(draw, depth, names)
    if kind == "record":
        return draw_record(draw, depth, names)
    inner, data = draw_case(draw, depth - 1, names)
    if kind == "array":
        return {"type": "array", "items": inner}, st.lists(data, max_size=3)
    return {"type": "map", "values": inner}, st.dictionaries(TEXT, data, max_size=3)


def draw_union(draw: st.DrawFn, depth: int, names: Any) -> Case:
    picked = draw(st.lists(st.sampled_from(range(len(APART))), min_size=1, max_size=4, unique=True))
    branches = [APART[index] for index in picked]
    if draw(st.booleans()):
        branches.append(draw_record(draw, depth - 1, names))
    if draw(st.booleans()):
        item, data = draw_case(draw, 0, names)
        branches.append(({"type": "array", "items": item}, st.lists(data, max_size=3)))
    return [schema for schema, _ in branches], st.one_of([data for _, data in branches])


def draw_record(draw: st.DrawFn, depth: int, names: Any) -> Case:
    fields = [draw_case(draw, max(depth - 1, 0), names) for _ in range(draw(st.integers(0, 4)))]
    parts = [{"name": f"f{index}", "type": schema} for index, (schema, _) in enumerate(fields)]
    data = st.fixed_dictionaries({f"f{index}": part for index, (_, part) in enumerate(fields)})
    return {"type": "record", "name": f"r{next(names)}", "fields": parts}, data


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, datetime):
        return bool(one == other and one.tzinfo == other.tzinfo)
    return repr(one) == repr(other) if isinstance(one, float | Decimal) else bool(one == other)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases(), st.data())
def test_data_of_any_schema_survives_bytes_and_text(case: Case, data: st.DataObject) -> None:
    schema, values = case
    value = data.draw(values)
    avro = AvroSchema(schema)
    body = avro.encode(value, {})
    read, meta = avro.decode(body)
    assert meta == {}
    assert same(read, value)
    text = dumps(read)
    assert same(loads(text), read)
    assert same(loads(kombu_loads(kombu_dumps({"args": [text]}))["args"][0]), read)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases(), st.data())
def test_the_bytes_are_those_of_fastavro(case: Case, data: st.DataObject) -> None:
    schema, values = case
    if "'uuid'" in str(schema) and "fixed" in str(schema):
        return
    value = data.draw(values)
    body = AvroSchema(schema).encode(value, {})
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), value)
    assert body == stream.getvalue()
    read = fastavro.schemaless_reader(BytesIO(body), fastavro.parse_schema(schema), None)
    assert same(AvroSchema(schema).decode(body)[0], read)


def test_uuids_in_a_fixed_are_sixteen_bytes() -> None:
    schema = AvroSchema({"type": "fixed", "name": "u", "size": 16, "logicalType": "uuid"})
    assert schema.encode(UUID(int=5), {}) == bytes(15) + b"\x05"
