"""Payloads as JSON, for a terminal or a pipe: what JSON lacks becomes text, and by its schema text becomes it again."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from kaufmann_celery.errors import EncodeError
from kaufmann_celery.transcoders.avro_parse import kind_of, parse, resolved
from kaufmann_celery.transcoders.envelope import envelope_of


def to_json(value: Any) -> Any:
    """Return *value* with bytes as base64, times in ISO 8601, decimals, UUIDs and NaN as text."""
    match value:
        case dict():
            return {str(key): to_json(item) for key, item in value.items()}
        case list() | tuple():
            return [to_json(item) for item in value]
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case datetime() | date() | time():
            return value.isoformat()
        case float() if not math.isfinite(value):
            return str(value)
        case None | bool() | int() | float() | str():
            return value
    return str(value)


class FromJson:
    """Turns JSON into the types that an event's schema (parsed JSON) names; `to_json` backwards."""

    def __init__(self, schema: Any, named: Iterable[Any] = ()) -> None:
        parsed = parse(schema, named)
        self._named = parsed.named
        self._schema = _payload_schema(parsed.schema, parsed.named)

    def __call__(self, payload: Any) -> Any:
        """Return the payload. What does not fit stays as it is: encoding names the field. Raises `EncodeError`."""
        return self._convert(self._schema, payload)

    def _convert(self, schema: Any, value: Any) -> Any:
        schema = resolved(schema, self._named)
        kind = kind_of(schema)
        if kind == "union":
            branches = [branch for branch in schema if kind_of(resolved(branch, self._named)) != "null"]
            return value if value is None or len(branches) != 1 else self._convert(branches[0], value)
        if kind == "record" and isinstance(value, dict):
            types = {field["name"]: field["type"] for field in schema["fields"]}
            return {key: self._convert(types[key], item) if key in types else item for key, item in value.items()}
        if kind == "array" and isinstance(value, list):
            return [self._convert(schema["items"], item) for item in value]
        if kind == "map" and isinstance(value, dict):
            return {key: self._convert(schema["values"], item) for key, item in value.items()}
        logical = str(schema.get("logicalType", "")) if isinstance(schema, dict) else ""
        return _scalar(kind, logical.removeprefix("kaufmann-"), value)


def _scalar(kind: str, logical: str, value: Any) -> Any:
    read = _READERS.get(logical) or _READERS.get(kind)
    if read is None or not isinstance(value, str | int | float) or isinstance(value, bool):
        return value
    if not isinstance(value, str) and logical != "decimal":
        return value
    try:
        return read(value)
    except (ValueError, InvalidOperation, binascii.Error):
        raise EncodeError(f"the payload holds text that is no {logical or kind}") from None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


#: By logical type, else by type.
_READERS: dict[str, Callable[[Any], Any]] = {
    "timestamp-millis": _moment,
    "timestamp-micros": _moment,
    "local-timestamp-millis": datetime.fromisoformat,
    "local-timestamp-micros": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time-millis": time.fromisoformat,
    "time-micros": time.fromisoformat,
    "decimal": lambda value: Decimal(str(value)),
    "uuid": UUID,
    "bytes": _bytes,
    "fixed": _bytes,
    "float": float,
    "double": float,
}


def _payload_schema(schema: Any, named: dict[str, Any]) -> Any:
    """Return the schema of the payload: of the field `payload` where there is an envelope, else the whole."""
    for branch in schema if isinstance(schema, list) else [schema]:
        if envelope_of(branch, named) is not None:
            return next(field["type"] for field in resolved(branch, named)["fields"] if field["name"] == "payload")
    return schema
