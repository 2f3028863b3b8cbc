"""What the Avro specification forbids and fastavro lets pass: names, unions, sizes, and what is no schema. Pure.

Registries refuse such schemas with 42201.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from kaufmann_celery.registry.named_types import NAMED, PRIMITIVE, full_name, is_definition, resolved_name

#: A part of a name, by the Avro specification, "Names".
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SHOWN: Final = 60


def fault_of(schema: Any) -> str | None:
    """Return the first rule that a schema (parsed JSON) breaks, and where; None for none."""
    return next(_faults(schema, "", ""), None)


def _faults(schema: Any, namespace: str, path: str) -> Iterator[str]:
    if isinstance(schema, list):
        yield from _union(schema, namespace, path)
    elif isinstance(schema, dict):
        yield from _object(schema, namespace, path)
    elif not isinstance(schema, str):
        yield _at(path, f"a type is a name, an object or a list (a union), not {_shown(schema)}")


def _union(union: list[Any], namespace: str, path: str) -> Iterator[str]:
    if not union:
        yield _at(path, "a union needs a branch, and [] has none")
    seen = set[str]()
    for branch in union:
        if isinstance(branch, list):
            yield _at(path, "a union stands directly in a union: write the branches of both into one list")
        label = _label(branch, namespace)
        if label in seen:
            yield _at(path, f"a union has {label} twice: no more than one of a type, or of a name, can be told apart")
        seen.add(label)
        yield from _faults(branch, namespace, path)


def _label(branch: Any, namespace: str) -> str:
    """Return what a union must have once: a type without a name, or a name."""
    if isinstance(branch, str):
        return branch if branch in PRIMITIVE else resolved_name(branch, namespace)
    if not isinstance(branch, dict):
        return _shown(branch)
    return full_name(branch, namespace)[0] if is_definition(branch) else _label(branch.get("type"), namespace)


def _object(schema: dict[str, Any], namespace: str, path: str) -> Iterator[str]:
    kind = schema.get("type")
    if isinstance(kind, str) and kind in NAMED:
        yield from _definition(kind, schema, namespace, path)
    elif kind == "array" and "items" in schema:
        yield from _faults(schema["items"], namespace, f"{path}[]")
    elif kind == "map" and "values" in schema:
        yield from _faults(schema["values"], namespace, f"{path}[…]")
    elif isinstance(kind, list):
        yield _at(path, "a union is a list, and no object with a list as its type")
    elif "type" in schema:
        yield from _faults(kind, namespace, path)


def _definition(kind: str, schema: dict[str, Any], namespace: str, path: str) -> Iterator[str]:
    if not isinstance(schema.get("name"), str):
        yield _at(path, f"the name of type {kind!r} must be text, and is {_shown(schema.get('name'))}")
        return
    name, inner = full_name(schema, namespace)
    yield from _name(name, path)
    if kind in ("record", "error"):
        yield from _fields(name, schema.get("fields"), inner, path)
    elif kind == "fixed":
        size = schema.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            yield _at(path, f"the size of fixed {name} must be a whole number, 0 or more, and is {_shown(size)}")
    elif not isinstance(schema.get("symbols"), list):
        yield _at(path, f"the symbols of enum {name} must be a list, and are {_shown(schema.get('symbols'))}")


def _fields(record: str, fields: Any, namespace: str, path: str) -> Iterator[str]:
    if not isinstance(fields, list):
        yield _at(path, f"the fields of record {record} must be a list, and are {_shown(fields)}")
        return
    seen = set[str]()
    for field in fields:
        name = field.get("name") if isinstance(field, dict) else None
        if not isinstance(name, str):
            yield _at(path, f"a field of record {record} must be an object with a name, and is {_shown(field)}")
            continue
        yield from _name(name, path)
        if name in seen:
            yield _at(path, f"record {record} has two fields {name!r}: give one of them another name")
        seen.add(name)
        yield from _faults(field.get("type", "null"), namespace, f"{path}.{name}")


def _name(name: str, path: str) -> Iterator[str]:
    if not all(map(_NAME.fullmatch, name.split("."))):
        yield _at(path, f"{name!r} is no Avro name: letters, digits and _ make one, no digit first")


def _at(path: str, fault: str) -> str:
    return f"{path.removeprefix('.')}: {fault}" if path else fault


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
