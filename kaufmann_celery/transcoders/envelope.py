"""Where an event's schema keeps meta and payload: side by side, or nowhere (the whole value is payload)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from kaufmann_celery.transcoders.avro_parse import kind_of, resolved

_META_FIELDS: Final = ("meta", "metadata")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A record with a field for meta and one named `payload`."""

    #: `meta` or `metadata`.
    meta_field: str
    #: The fields of the schema's meta, each with what turns our value into its type; None takes any.
    _fields: Mapping[str, Callable[[Any], Any]] | None

    def wrap(self, payload: Any, meta: Mapping[str, Any]) -> dict[str, Any]:
        """The record to write. What the schema's meta has no field for is left out."""
        if self._fields is None:
            kept = {name: value for name, value in meta.items() if isinstance(value, str)}
        else:
            kept = {name: convert(meta[name]) for name, convert in self._fields.items() if name in meta}
        return {self.meta_field: kept, "payload": payload}

    def split(self, value: Any) -> tuple[Any, dict[str, Any]]:
        """Payload and meta of a record read; the whole value and no meta where it is not such a record."""
        if not isinstance(value, dict) or self.meta_field not in value or "payload" not in value:
            return value, {}
        return value["payload"], value[self.meta_field] or {}


def envelope_of(schema: Any, named: dict[str, Any]) -> Envelope | None:
    """The envelope that a schema is; None where it is no record, or has no meta beside `payload`."""
    schema = resolved(schema, named)
    if kind_of(schema) != "record":
        return None
    fields = {field["name"]: field["type"] for field in schema["fields"]}
    for name in _META_FIELDS:
        meta = _without_null(fields.get(name, "null"), named)
        if "payload" in fields and kind_of(meta) in ("record", "map"):
            return Envelope(name, _meta_fields(meta, named))
    return None


def _without_null(schema: Any, named: dict[str, Any]) -> Any:
    schema = resolved(schema, named)
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        return resolved(branches[0], named) if len(branches) == 1 else schema
    return schema


def _meta_fields(meta: Any, named: dict[str, Any]) -> dict[str, Callable[[Any], Any]] | None:
    if kind_of(meta) == "map":
        return None
    return {field["name"]: _converter(_without_null(field["type"], named)) for field in meta["fields"]}


def _converter(schema: Any) -> Callable[[Any], Any]:
    logical = str(schema.get("logicalType", "")) if isinstance(schema, dict) else ""
    if logical in ("timestamp-millis", "timestamp-micros"):
        return _as_datetime
    return _as_text if kind_of(schema) == "string" else _as_it_is


def _as_datetime(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return value  # the schema's check names the field
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _as_text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _as_it_is(value: Any) -> Any:
    return value
