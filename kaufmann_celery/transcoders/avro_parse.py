"""Avro schemas made ready for fastavro, with the gaps closed that would let wrong data through.

fastavro takes index -1 of a union or an enum for the last one, hands out a field's default as it stands in
the JSON (text for bytes, a number for a date), rounds decimals that have more digits than their precision,
and knows no UUID in a fixed. Schemas parsed here have none of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Final
from uuid import UUID

import fastavro
from fastavro.read import LOGICAL_READERS
from fastavro.schema import SchemaParseException, UnknownType, to_parsing_canonical_form
from fastavro.write import LOGICAL_WRITERS

from kaufmann_celery.errors import EventError

#: A larger decimal costs more time than it can be worth.
_MAX_DECIMAL_BYTES: Final = 4096
_DECIMAL: Final = "kaufmann-decimal"
_UUID: Final = "kaufmann-uuid"
#: Wide enough for any decimal let in.
_EXACT: Final = Context(prec=3 * _MAX_DECIMAL_BYTES, Emin=-999999, Emax=999999)


@dataclass(frozen=True, slots=True)
class ParsedSchema:
    """A schema in fastavro's form, once for writing and resolving, once with indices checked for reading."""

    schema: Any
    #: The same for reading without a reader schema; a top-level union is a list of branches in both.
    checked: Any
    #: Every named type by its full name.
    named: dict[str, Any]
    #: Parsing canonical form: equal for schemas that read and write alike.
    canonical: str


def parse(schema: Any, named: Iterable[Any] = ()) -> ParsedSchema:
    """The schema (parsed JSON) ready for use. *named* are schemas it refers to, dependencies first.

    Raises:
        EventError: it is not valid Avro; the message says why.
    """
    try:
        types: dict[str, Any] = {}
        for reference in named:
            fastavro.parse_schema(_lenient(reference), types)
        parsed = fastavro.parse_schema(_lenient(schema), types)
        if isinstance(parsed, list):
            parsed = [_hinted(branch, types) for branch in parsed]
        parsed = _hinted(parsed, types)
        canonical = str(to_parsing_canonical_form(parsed))
        _settle([parsed, *types.values()], types)
        checked = _Checked(types).of(parsed)
    except _PARSE_FAULTS as error:
        raise EventError(f"the schema is not valid Avro: {_reason(error)}") from error
    return ParsedSchema(parsed, checked, types, canonical)


_PARSE_FAULTS: Final = (
    SchemaParseException,
    UnknownType,
    KeyError,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnknownType):
        return f"unknown type {error.name!r}"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error)[:300] or type(error).__name__


def _lenient(schema: Any) -> Any:
    """A copy. KaufmannEx's own event_metadata has the text "null" as the default of a nullable field."""
    if isinstance(schema, list):
        return [_lenient(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {key: _lenient(part) for key, part in schema.items()}
    nullable = isinstance(schema.get("type"), list) and "null" in schema["type"]
    if nullable and schema.get("default") == "null" and "string" not in schema["type"]:
        copied["default"] = None
    return copied


def _hinted(schema: Any, named: dict[str, Any]) -> Any:
    """A named type's definition for its name, marked so that fastavro does not parse it at each call."""
    if isinstance(schema, str) and schema in named:
        return {**named[schema], "__fastavro_parsed": True, "__named_schemas": named}
    return schema


def kind_of(schema: Any) -> str:
    """`record`, `union`, `string` …, or the full name of a named type."""
    if isinstance(schema, list):
        return "union"
    return str(schema["type"] if isinstance(schema, dict) else schema)


def resolved(schema: Any, named: dict[str, Any]) -> Any:
    """The definition where *schema* is a named type's name."""
    seen = 0
    while not isinstance(schema, list) and kind_of(schema) in named and seen <= len(named):
        schema, seen = named[kind_of(schema)], seen + 1
    return schema


def _settle(schemas: list[Any], named: dict[str, Any]) -> None:
    """Give every decimal and fixed UUID our logical type, and every default its Python value; in place."""
    records: list[dict[str, Any]] = []
    seen: set[int] = set()
    todo = list(schemas)
    while todo:
        schema = todo.pop()
        if isinstance(schema, list):
            todo.extend(schema)
        elif isinstance(schema, dict) and id(schema) not in seen:
            seen.add(id(schema))
            _own_logical_type(schema)
            todo.extend(schema[part] for part in ("items", "values") if part in schema)
            if isinstance(schema["type"], dict | list):
                todo.append(schema["type"])
            if "fields" in schema:
                records.append(schema)
                todo.extend(field["type"] for field in schema["fields"])
    fields = {id(field): field for record in records for field in record["fields"] if "default" in field}
    typed = {key: _typed_default(field["default"], field["type"], named) for key, field in fields.items()}
    for key, value in typed.items():
        fields[key]["default"] = value


def _own_logical_type(schema: dict[str, Any]) -> None:
    logical = schema.get("logicalType")
    if logical == "decimal" and schema["type"] in ("bytes", "fixed") and schema.get("precision"):
        schema["logicalType"] = _DECIMAL
    elif logical == "uuid" and schema["type"] == "fixed" and schema["size"] == 16:
        schema["logicalType"] = _UUID
    elif not isinstance(logical, str) or (logical in ("decimal", "uuid") and schema["type"] != "string"):
        schema.pop("logicalType", None)  # to be ignored where it is invalid, says the specification


def _typed_default(default: Any, schema: Any, named: dict[str, Any]) -> Any:
    """A default as reading a record that holds it would give it."""
    schema = resolved(schema, named)
    kind = kind_of(schema)
    if kind == "union":
        return _typed_default(default, _branch_of_default(default, schema), named)
    if kind == "record":
        return {
            name: _typed_default(default.get(name, field.get("default")), field["type"], named)
            for name, field in ((field["name"], field) for field in schema["fields"])
        }
    if kind == "array":
        return [_typed_default(item, schema["items"], named) for item in default]
    if kind == "map":
        return {key: _typed_default(item, schema["values"], named) for key, item in default.items()}
    return _typed_scalar(default, schema, kind)


def _branch_of_default(default: Any, union: list[Any]) -> Any:
    """The first branch, as Avro says; null where it is null, as many schemas have it."""
    return "null" if default is None and "null" in union else union[0]


def _typed_scalar(default: Any, schema: Any, kind: str) -> Any:
    value = default
    if kind in ("bytes", "fixed") and isinstance(default, str):
        value = default.encode("latin-1")
    elif kind in ("float", "double"):
        value = float(default)
    if isinstance(schema, dict) and "logicalType" in schema:
        read = LOGICAL_READERS.get(f"{kind}-{schema['logicalType']}")
        return read(value, schema, None) if read else value
    return value


class _Checked:
    """Copies of schemas in which an index is looked up as a key, so that a negative one is none."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._types: dict[str, Any] = {}
        for name, schema in named.items():
            self._types[name] = dict(schema)
        for name, schema in self._types.items():
            schema.update(self._parts(named[name]))

    def of(self, schema: Any) -> Any:
        """The checked copy; a top-level union stays a list, whose index the caller reads."""
        branches = [self._top(branch) for branch in schema] if isinstance(schema, list) else None
        return self._top(schema) if branches is None else branches

    def _top(self, schema: Any) -> Any:
        schema = self._named.get(schema, schema) if isinstance(schema, str) else schema
        copied = self._copy(schema)
        if not isinstance(copied, dict):
            copied = {"type": copied}
        return {**copied, "__fastavro_parsed": True, "__named_schemas": self._types}

    def _copy(self, schema: Any) -> Any:
        if isinstance(schema, list):
            return {"type": "union"} | {index: self._copy(branch) for index, branch in enumerate(schema)}
        if not isinstance(schema, dict):
            return schema
        if schema.get("name") in self._types:
            return self._types[schema["name"]]
        return {**schema, **self._parts(schema)}

    def _parts(self, schema: dict[str, Any]) -> dict[str, Any]:
        inner = (part for part in ("items", "values") if part in schema)
        parts: dict[str, Any] = {part: self._copy(schema[part]) for part in inner}
        if schema["type"] == "enum":
            parts["symbols"] = dict(enumerate(schema["symbols"]))
        if "fields" in schema:
            parts["fields"] = [{**field, "type": self._copy(field["type"])} for field in schema["fields"]]
        return parts


def _read_decimal(data: bytes, writer_schema: Any = None, reader_schema: Any = None) -> Decimal:
    del reader_schema
    if len(data) > _MAX_DECIMAL_BYTES:
        raise ValueError("decimal too long")
    unscaled = Decimal(int.from_bytes(data, "big", signed=True))
    return unscaled.scaleb(-writer_schema.get("scale", 0), _EXACT)


def _write_bytes_decimal(value: Any, schema: Any) -> Any:
    return LOGICAL_WRITERS["bytes-decimal"](value, schema)


def _write_fixed_decimal(value: Any, schema: Any) -> Any:
    return LOGICAL_WRITERS["fixed-decimal"](value, schema)


def _read_uuid(data: bytes, writer_schema: Any = None, reader_schema: Any = None) -> UUID:
    del writer_schema, reader_schema
    return UUID(bytes=data)


def _write_uuid(value: Any, schema: Any) -> Any:
    del schema
    return value.bytes if isinstance(value, UUID) else value


# Under names of our own, so that other users of fastavro in this process see no change.
LOGICAL_READERS[f"bytes-{_DECIMAL}"] = LOGICAL_READERS[f"fixed-{_DECIMAL}"] = _read_decimal
LOGICAL_WRITERS[f"bytes-{_DECIMAL}"] = _write_bytes_decimal
LOGICAL_WRITERS[f"fixed-{_DECIMAL}"] = _write_fixed_decimal
LOGICAL_READERS[f"fixed-{_UUID}"] = _read_uuid
LOGICAL_WRITERS[f"fixed-{_UUID}"] = _write_uuid
