"""Whether a value fits an Avro type that holds no others: primitive, enum, fixed or logical.

fastavro writes True as 1, 1.5 as 1 and "x" as true. Here that is a fault.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NoReturn
from uuid import UUID

#: Returns where the value fits, raises Mismatch where it does not.
Check = Callable[[Any], None]

_INT: Final = range(-(2**31), 2**31)
_LONG: Final = range(-(2**63), 2**63)
_FLOAT_MAX: Final = 3.4028235677973366e38
_FLOAT: Final = struct.Struct("<f")


class Mismatch(Exception):
    """A value does not fit; *path* is filled from the inside out while it travels up."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []

    def __str__(self) -> str:
        path = "".join(reversed(self.path)).removeprefix(".")
        return f"{path}: {self.reason}" if path else self.reason


def reject(expected: str, value: Any) -> NoReturn:
    """Raise Mismatch, naming the value's type."""
    got = "null" if value is None else type(value).__name__
    raise Mismatch(f"expected {expected}, got {got}")


def scalar_check(kind: str, schema: dict[str, Any]) -> Check:
    """The check for the type *kind*; *schema* holds its attributes, none for a bare primitive."""
    logical = schema.get("logicalType", "")
    if logical == "kaufmann-decimal":
        return _decimal(schema, _SCALARS[kind](schema))
    special = _LOGICAL.get((kind, logical.removeprefix("kaufmann-")))
    return special(schema) if special else _SCALARS[kind](schema)


def exact_check(kind: str, schema: dict[str, Any]) -> Check:
    """The same, but a number has to be a float, and for `float` one that 32 bits hold without a loss."""
    return _EXACT.get(kind) or scalar_check(kind, schema)


def string_check(value: Any) -> None:
    """Text, without halves of surrogate pairs."""
    if not isinstance(value, str):
        reject("string", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Mismatch("expected text that UTF-8 can hold, got half of a surrogate pair") from None


def _bytes(value: Any) -> None:
    if not isinstance(value, bytes | bytearray):
        reject("bytes", value)


def _boolean(value: Any) -> None:
    if not isinstance(value, bool):
        reject("boolean", value)


def _null(value: Any) -> None:
    reject("null", value)


def _number(expected: str, limits: range) -> Check:
    low, high = limits[0], limits[-1]

    def check(value: Any) -> None:
        if not isinstance(value, int) or isinstance(value, bool):
            reject(expected, value)
        if not low <= value <= high:
            raise Mismatch(f"expected {expected}, got an int beyond its range")

    return check


def _double(value: Any) -> None:
    if not isinstance(value, float) and (not isinstance(value, int) or isinstance(value, bool)):
        reject("double", value)
    try:
        float(value)
    except OverflowError:
        raise Mismatch("expected double, got an int beyond its range") from None


def _float(value: Any) -> None:
    if not isinstance(value, float) and (not isinstance(value, int) or isinstance(value, bool)):
        reject("float", value)
    if abs(value) > _FLOAT_MAX and not (isinstance(value, float) and math.isinf(value)):
        raise Mismatch("expected float, got a number beyond its range")


def _exact_double(value: Any) -> None:
    if not isinstance(value, float):
        reject("double", value)


def _exact_float(value: Any) -> None:
    if not isinstance(value, float):
        reject("float", value)
    _float(value)
    if _FLOAT.unpack(_FLOAT.pack(value))[0] != value:
        raise Mismatch("expected float, got a number of more bits")


def _fixed(schema: dict[str, Any]) -> Check:
    size = schema["size"]

    def check(value: Any) -> None:
        if not isinstance(value, bytes):
            reject(f"{size} bytes", value)
        if len(value) != size:
            raise Mismatch(f"expected {size} bytes, got {len(value)}")

    return check


def _enum(schema: dict[str, Any]) -> Check:
    symbols = frozenset(schema["symbols"])

    def check(value: Any) -> None:
        if not isinstance(value, str):
            reject(f"enum {schema['name']}", value)
        if value not in symbols:
            raise Mismatch(f"expected one of {', '.join(schema['symbols'])[:200]}, got another string")

    return check


def _either(expected: str, kind: type, otherwise: Check) -> Check:
    """A logical type: its Python type, or what the underlying Avro type takes."""

    def check(value: Any) -> None:
        if not isinstance(value, kind):
            try:
                otherwise(value)
            except Mismatch:
                reject(expected, value)

    return check


def _timestamp(expected: str, *, aware: bool) -> Check:
    inner = _either(expected, datetime, _number("long", _LONG))

    def check(value: Any) -> None:
        inner(value)
        # fastavro would take a naive one for the machine's own time zone, and drop that of an aware one.
        if isinstance(value, datetime) and (value.tzinfo is not None) is not aware:
            raise Mismatch(f"expected {expected}, got a datetime with{'out' * aware} a time zone")

    return check


def _date(value: Any) -> None:
    if isinstance(value, datetime):
        reject("date", value)
    if not isinstance(value, date):
        _DATE_NUMBER(value)


_DATE_NUMBER: Final = _number("date", _INT)


def _uuid(value: Any) -> None:
    if not isinstance(value, UUID):
        if not isinstance(value, str):
            reject("uuid", value)
        try:
            UUID(value)
        except ValueError:
            raise Mismatch("expected uuid, got another string") from None


def _decimal(schema: dict[str, Any], otherwise: Check) -> Check:
    precision, scale = schema["precision"], schema.get("scale", 0)
    expected = f"decimal({precision}, {scale})"
    inner = _either(expected, Decimal, otherwise)

    def check(value: Any) -> None:
        inner(value)
        if isinstance(value, Decimal):
            _, digits, exponent = value.as_tuple()
            if not isinstance(exponent, int) or exponent < -scale:
                raise Mismatch(f"expected {expected}, got more digits after the point")
            if any(digits) and len(digits) + exponent + scale > precision:
                raise Mismatch(f"expected {expected}, got more digits")

    return check


_SCALARS: Final[dict[str, Callable[[dict[str, Any]], Check]]] = {
    "null": lambda _: _null,
    "boolean": lambda _: _boolean,
    "string": lambda _: string_check,
    "bytes": lambda _: _bytes,
    "int": lambda _: _number("int", _INT),
    "long": lambda _: _number("long", _LONG),
    "float": lambda _: _float,
    "double": lambda _: _double,
    "fixed": _fixed,
    "enum": _enum,
}
_EXACT: Final[dict[str, Check]] = {"float": _exact_float, "double": _exact_double}
_LOGICAL: Final[dict[tuple[str, str], Callable[[dict[str, Any]], Check]]] = {
    ("long", "timestamp-millis"): lambda _: _timestamp("timestamp-millis", aware=True),
    ("long", "timestamp-micros"): lambda _: _timestamp("timestamp-micros", aware=True),
    ("long", "local-timestamp-millis"): lambda _: _timestamp("local-timestamp-millis", aware=False),
    ("long", "local-timestamp-micros"): lambda _: _timestamp("local-timestamp-micros", aware=False),
    ("int", "time-millis"): lambda _: _either("time-millis", time, _number("int", _INT)),
    ("long", "time-micros"): lambda _: _either("time-micros", time, _number("long", _LONG)),
    ("int", "date"): lambda _: _date,
    ("string", "uuid"): lambda _: _uuid,
    ("fixed", "uuid"): lambda schema: _either("uuid", UUID, _fixed(schema)),
}
