"""What is no Avro schema by the specification, and how that is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from kaufmann_celery.registry.avro_rules import fault_of
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.testing import FakeSchemaRegistry


def record(*fields: Any, name: Any = "Order", **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(kind: Any, name: Any = "x") -> dict[str, Any]:
    return {"name": name, "type": kind}


def fixed(size: Any, name: str = "Hash") -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size}


UUID = {"type": "string", "logicalType": "uuid"}
LIST = {"type": "array", "items": "int"}

BROKEN: dict[str, tuple[Any, str]] = {
    "two fields of one name": (record(field("int"), field("long")), "record Order has two fields 'x'"),
    "two of one type in a union": (record(field(["int", "int"])), "x: a union has int twice"),
    "two arrays in a union": ([LIST, LIST], "a union has array twice"),
    "a logical type beside its own": (
        record(field({"type": "array", "items": ["string", UUID]})),
        "x[]: a union has string twice",
    ),
    "one name twice in a union": (
        record(field(fixed(2)), field(["Hash", "com.acme.Hash"], "y"), namespace="com.acme"),
        "y: a union has com.acme.Hash twice",
    ),
    "a union in a union": (record(field(["null", ["int", "long"]])), "x: a union stands directly in a union"),
    "a union of nothing": ([], "a union needs a branch"),
    "a union as an object": (record(field({"type": ["null", "int"]})), "x: a union is a list"),
    "a negative size": (
        record(field(fixed(-1))),
        "x: the size of fixed Hash must be a whole number, 0 or more, and is -1",
    ),
    "a size in text": (fixed("4"), 'the size of fixed Hash must be a whole number, 0 or more, and is "4"'),
    "symbols in one text": ({"type": "enum", "name": "E", "symbols": "AB"}, "the symbols of enum E must be a list"),
    "a number": (5, "a type is a name, an object or a list (a union), not 5"),
    "null": (None, "a type is a name, an object or a list (a union), not null"),
    "a number as a type": (record(field(5)), "x: a type is a name, an object or a list (a union), not 5"),
    "a number as a name": (record(field("int"), name=5), "the name of type 'record' must be text, and is 5"),
    "no name": (
        record(field({"type": "record", "fields": []})),
        "x: the name of type 'record' must be text, and is null",
    ),
    "a number as a field's name": (record(field("int", 5)), "a field of record Order must be an object with a name"),
    "a text for fields": (record() | {"fields": "x"}, "the fields of record Order must be a list"),
    "a name with a hyphen": ({"type": "map", "values": fixed(2, "a-b")}, "[…]: 'a-b' is no Avro name"),
}  # fmt: skip
FINE: list[Any] = [
    "string", {"type": "string"}, ["null", "int", "long", LIST, {"type": "map", "values": "int"}], fixed(0),
    record(field("int"), field(["null", fixed(2), fixed(2, "Other")], "y"), field(["Hash", "Other"], "z")),
    record(field(["null", record(field("int"), name="Inner")]), field(["Inner", "Order"], "y")),
    [fixed(2, "a.Hash"), fixed(2, "b.Hash")], record(field({"type": {"type": "array", "items": "int"}})),
]  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_avro_forbids_is_a_fault_with_its_place(case: str, tmp_path: Path) -> None:
    schema, said = BROKEN[case]
    (tmp_path / "order.avsc").write_text(json.dumps(schema))

    (fault,) = LocalSchemas.and_faults([tmp_path])[1]

    assert fault.reason.startswith(said)


@pytest.mark.parametrize("schema", FINE, ids=json.dumps)
def test_what_avro_allows_is_none(schema: Any) -> None:
    assert fault_of(schema) is None


@pytest.mark.parametrize("case", BROKEN)
def test_the_fake_registry_refuses_it(case: str) -> None:
    with FakeSchemaRegistry() as registry:
        body = {"schema": json.dumps(BROKEN[case][0])}
        for path in ("/subjects/a/versions", "/subjects/a", "/compatibility/subjects/a/versions/latest"):
            answer = requests.post(f"{registry.url}{path}", json=body, timeout=5)

            assert (answer.status_code, answer.json()["error_code"]) == (422, 42201)
            assert BROKEN[case][1] in answer.json()["message"]
