from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from kaufmann_celery.errors import EncodeError
from kaufmann_celery.transcoders.avro import AvroSchema
from kaufmann_celery.transcoders.avro_depth import is_recursive, scanner
from kaufmann_celery.transcoders.avro_parse import parse
from kaufmann_celery.transcoders.payload_codec import dumps, loads

LINKED = {
    "type": "record",
    "name": "link",
    "fields": [{"name": "value", "type": "int"}, {"name": "next", "type": ["null", "link"]}],
}
TREE = {
    "type": "record",
    "name": "tree",
    "fields": [{"name": "children", "type": {"type": "array", "items": "tree"}}],
}
MAPPED = {
    "type": "record",
    "name": "node",
    "fields": [{"name": "by", "type": {"type": "map", "values": "node"}}],
}

#: In a process of its own, so that a crash of the C stack is seen as one.
DEEP = """
import sys, time
from kaufmann_celery.errors import DecodeError
from kaufmann_celery.transcoders.payload_codec import dumps, loads
from kaufmann_celery.transcoders.avro import AvroSchema
kind, depth = sys.argv[1], int(sys.argv[2])
limit = sys.getrecursionlimit()
if kind == "linked":
    schema = AvroSchema({"type": "record", "name": "link", "fields": [
        {"name": "value", "type": "int"}, {"name": "next", "type": ["null", "link"]}]})
    body = b"\\x02\\x02" * (depth - 1) + b"\\x02\\x00"
elif kind == "tree":
    schema = AvroSchema({"type": "record", "name": "tree", "fields": [
        {"name": "children", "type": {"type": "array", "items": "tree"}}]})
    body = b"\\x02" * (depth - 1) + b"\\x00" * depth
else:
    schema = AvroSchema({"type": "record", "name": "node", "fields": [
        {"name": "by", "type": {"type": "map", "values": "node"}}]})
    body = b"\\x02\\x00" * (depth - 1) + b"\\x00" * depth
began = time.monotonic()
try:
    payload, _ = schema.decode(body)
    assert loads(dumps(payload)) == payload
    assert schema.encode(payload, {}) == body
    print("decoded")
except DecodeError as error:
    print("refused", "deeper" in str(error))
assert time.monotonic() - began < 5
assert sys.getrecursionlimit() == limit
"""


def outcome(kind: str, depth: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", DEEP, kind, str(depth)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("kind", ["linked", "tree", "mapped"])
def test_300_levels_go_all_the_way_and_back(kind: str) -> None:
    assert outcome(kind, 300) == "decoded"


@pytest.mark.parametrize("kind", ["linked", "tree", "mapped"])
@pytest.mark.parametrize("depth", [4_000, 10_000, 500_000])
def test_thousands_of_levels_are_a_decode_error(kind: str, depth: int) -> None:
    assert outcome(kind, depth) == "refused True"


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_thousands_of_levels_are_an_encode_error(depth: int) -> None:
    payload: dict[str, Any] = {"value": 1, "next": None}
    for _ in range(depth):
        payload = {"value": 1, "next": payload}
    with pytest.raises(EncodeError, match="deeper"):
        AvroSchema(LINKED).encode(payload, {})


@pytest.mark.parametrize("schema", [LINKED, TREE, MAPPED])
def test_a_type_that_can_hold_itself_is_scanned(schema: Any) -> None:
    parsed = parse(schema)
    assert is_recursive(parsed.schema, parsed.named)
    assert scanner(parsed.schema, parsed.named) is not None


def test_a_type_used_twice_is_not_recursive_and_not_scanned() -> None:
    inner = {"type": "record", "name": "inner", "fields": [{"name": "x", "type": ["null", "int"]}]}
    fields = [{"name": "a", "type": inner}, {"name": "b", "type": {"type": "array", "items": "inner"}}]
    parsed = parse({"type": "record", "name": "outer", "fields": fields})
    assert not is_recursive(parsed.schema, parsed.named)
    assert scanner(parsed.schema, parsed.named) is None


def test_mutual_recursion_is_recursion() -> None:
    back = {"type": "record", "name": "b", "fields": [{"name": "a", "type": ["null", "a"]}]}
    parsed = parse({"type": "record", "name": "a", "fields": [{"name": "b", "type": ["null", back]}]})
    assert is_recursive(parsed.schema, parsed.named)


def test_a_wide_value_of_a_recursive_type_is_no_deeper_than_it_is() -> None:
    payload: dict[str, Any] = {"children": [{"children": []}] * 5_000}
    schema = AvroSchema(TREE)
    assert schema.decode(schema.encode(payload, {})) == (payload, {})
    assert loads(dumps(payload)) == payload


def test_every_kind_of_value_is_walked_to_its_end() -> None:
    kinds: list[Any] = [
        "null",
        "boolean",
        "int",
        "long",
        "float",
        "double",
        "bytes",
        "string",
        {"type": "fixed", "name": "f", "size": 3},
        {"type": "enum", "name": "e", "symbols": ["A"]},
        {"type": "map", "values": "long"},
        {"type": "array", "items": "string"},
        ["null", "string"],
        ["null", "all"],
    ]
    fields = [{"name": f"x{index}", "type": kind} for index, kind in enumerate(kinds)]
    schema = AvroSchema({"type": "record", "name": "all", "fields": fields})
    values = [None, True, -70, 2**60, 1.5, 2.5, b"ab", "é", b"abc", "A", {"k": 5}, ["", "y"], "z", None]
    leaf = {f"x{index}": value for index, value in enumerate(values)}
    payload = {**leaf, "x13": leaf}
    assert schema.decode(schema.encode(payload, {})) == (payload, {})


def test_blocks_with_their_size_in_bytes_are_walked() -> None:
    # Two items in a block of negative count: -2, then its 2 bytes, then two empty trees.
    assert AvroSchema(TREE).decode(b"\x03\x04\x00\x00\x00") == ({"children": [{"children": []}] * 2}, {})
