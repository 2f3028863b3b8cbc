"""Whether a value fits an Avro schema, and if not, the path of the field at fault. Never the value itself.

fastavro drops what the schema has no field for. Here that is a fault.
"""

from __future__ import annotations

from typing import Any, NoReturn

from kaufmann_celery.transcoders.avro_parse import kind_of, resolved
from kaufmann_celery.transcoders.avro_scalars import (
    Check,
    Mismatch,
    exact_check,
    reject,
    scalar_check,
    string_check,
)

__all__ = ["Check", "Checks", "Mismatch", "check_of"]


def check_of(schema: Any, named: dict[str, Any]) -> Check:
    """A function that raises Mismatch for what does not fit. It takes one stack level per container."""
    nullable, inner = Checks(named).build(schema)

    def check(value: Any) -> None:
        if value is not None or not nullable:
            inner(value)

    return check


class Checks:
    """Turns schemas into nested functions. Null is told apart by the container, to save a stack level.

    *exact*: only what AvroEx takes for such a value. A number is not converted, and a record has all of its fields.
    """

    def __init__(self, named: dict[str, Any], *, exact: bool = False) -> None:
        self._named = named
        self._exact = exact
        self._records: dict[str, Check] = {}

    def build(self, schema: Any) -> tuple[bool, Check]:
        """Whether null fits, and the check for everything else."""
        schema = resolved(schema, self._named)
        if isinstance(schema, list):
            return self._union(schema)
        kind = kind_of(schema)
        if kind in ("record", "error"):
            return False, self._record(schema)
        if kind == "array":
            return False, _array(*self.build(schema["items"]))
        if kind == "map":
            return False, _map(*self.build(schema["values"]))
        scalar = exact_check if self._exact else scalar_check
        return kind == "null", scalar(kind, schema if isinstance(schema, dict) else {})

    def _union(self, union: list[Any]) -> tuple[bool, Check]:
        built = [self.build(branch) for branch in union]
        nullable = any(null for null, _ in built)
        names = [_label(branch, self._named) for branch in union if branch != "null"]
        checks = [check for branch, (_, check) in zip(union, built, strict=True) if branch != "null"]
        if len(checks) == 1:
            return nullable, checks[0]
        fields = [_field_names(branch, self._named) for branch in union if branch != "null"]
        return nullable, _any_of(list(zip(checks, fields, strict=True)), " or ".join([*["null"] * nullable, *names]))

    def _record(self, schema: dict[str, Any]) -> Check:
        name = schema["name"]
        if name not in self._records:
            fields: list[tuple[str, bool, bool, Check]] = []
            self._records[name] = _record(name, fields)
            for field in schema["fields"]:
                nullable, check = self.build(field["type"])
                optional = (nullable or "default" in field) and not self._exact
                fields.append((field["name"], optional, nullable, check))
        return self._records[name]


def _label(schema: Any, named: dict[str, Any]) -> str:
    schema = resolved(schema, named)
    if not isinstance(schema, dict):
        return kind_of(schema)
    return str(schema.get("name") or schema.get("logicalType") or schema["type"])


def _field_names(schema: Any, named: dict[str, Any]) -> frozenset[str] | None:
    """The names of a record's fields; None for any other type."""
    fields = resolved(schema, named)
    fields = fields.get("fields") if isinstance(fields, dict) else None
    return None if fields is None else frozenset(field["name"] for field in fields)


def _record(label: str, fields: list[tuple[str, bool, bool, Check]]) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, dict):
            reject(f"record {label}", value)
        found, name = 0, ""
        try:
            for name, optional, nullable, inner in fields:
                if name in value:
                    found += 1
                    item = value[name]
                    if item is not None or not nullable:
                        inner(item)
                elif not optional:
                    _fail("missing, and the schema has no default for it")
            if found != len(value):
                name = _extra_field(value, fields)
                _fail(f"record {label} has no such field")
        except Mismatch as mismatch:
            mismatch.path.append(f".{name}")
            raise

    return check


def _fail(reason: str) -> NoReturn:
    raise Mismatch(reason)


def _extra_field(value: dict[Any, Any], fields: list[tuple[str, bool, bool, Check]]) -> str:
    known = {name for name, _, _, _ in fields}
    return str(next(name for name in value if name not in known))[:100]


def _array(nullable: bool, inner: Check) -> Check:  # noqa: FBT001 - as build() gives it
    def check(value: Any) -> None:
        if not isinstance(value, list | tuple):
            reject("array", value)
        index = 0
        try:
            for index, item in enumerate(value):  # noqa: B007 - read where the mismatch is caught
                if item is not None or not nullable:
                    inner(item)
        except Mismatch as mismatch:
            mismatch.path.append(f"[{index}]")
            raise

    return check


def _map(nullable: bool, inner: Check) -> Check:  # noqa: FBT001 - as build() gives it
    def check(value: Any) -> None:
        if not isinstance(value, dict):
            reject("map", value)
        try:
            for key, item in value.items():
                string_check(key)
                if item is not None or not nullable:
                    inner(item)
        except Mismatch as mismatch:
            mismatch.path.append("[…]")  # a map's key is data, and data stays out of messages
            raise

    return check


def _any_of(branches: list[tuple[Check, frozenset[str] | None]], expected: str) -> Check:
    def check(value: Any) -> None:
        closest, closeness = None, (0, 0)
        for branch, fields in branches:
            try:
                branch(value)
                return
            except Mismatch as mismatch:
                # One that has all fields of the value is meant before one in which more of them fit.
                found = (-_strangers(value, fields), len(mismatch.path))
                if mismatch.path and (closest is None or found > closeness):
                    closest, closeness = mismatch, found
        if closest is not None:
            raise closest
        reject(expected, value)

    return check


def _strangers(value: Any, fields: frozenset[str] | None) -> int:
    """How many fields a value has that the record has not."""
    return len(value.keys() - fields) if fields is not None and isinstance(value, dict) else 0
