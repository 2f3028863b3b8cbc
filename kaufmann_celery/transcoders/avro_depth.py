"""How deep, and how wide from nothing, an Avro value is: found out from its bytes, without recursion.

fastavro's compiled reader recurses on the C stack, so a few kilobytes of a recursive type would kill the
process, as would five bytes that announce an array of 2**40 nulls. Only schemas that allow either are walked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kaufmann_celery.errors import DecodeError
from kaufmann_celery.transcoders.avro_parse import kind_of, resolved
from kaufmann_celery.transcoders.tagged_json import MAX_DEPTH as _CODEC_DEPTH

#: Most records, arrays and maps inside one another: what fits the payload codec with room around it.
MAX_DEPTH: Final = _CODEC_DEPTH - 40
#: Most items that take no bytes (null, an empty record) in one value.
MAX_EMPTY_ITEMS: Final = 100_000

_WIDTHS: Final = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_NUMBERS: Final = frozenset({"int", "long", "enum"})

#: What is left to walk: a schema, or a container's state.
_Task = tuple[str, Any, int]


def varint(body: bytes, at: int) -> tuple[int, int]:
    """The zig-zag number at *at*, and where the next value begins.

    Raises:
        DecodeError: the bytes end before it does, or it has more than 64 bits.
    """
    number = shift = 0
    while shift < 70:
        if at >= len(body):
            raise DecodeError(_TRUNCATED)
        byte = body[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    raise DecodeError("a number has more than 64 bits")


_TRUNCATED: Final = "the bytes end before the value does"


def is_recursive(schema: Any, named: dict[str, Any]) -> bool:
    """Whether a named type can hold itself, so that values nest without a limit of the schema's own."""
    return any(_reaches(name, named) for name in _names_in(schema, named))


def scanner(schema: Any, named: dict[str, Any]) -> Callable[[bytes], None] | None:
    """A check to run over a value's bytes before they are decoded; None where the schema needs none."""
    if not is_recursive(schema, named) and not _has_empty_items(schema, named):
        return None
    return lambda body: _Walk(body, named).over(schema)


def _parts(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return list(schema)
    if not isinstance(schema, dict):
        return []
    fields = [field["type"] for field in schema.get("fields", ())]
    return fields + [schema[part] for part in ("items", "values") if part in schema]


def _names_in(schema: Any, named: dict[str, Any]) -> set[str]:
    """The named types that *schema* holds, at any depth."""
    found: set[str] = set()
    todo = [schema]
    while todo:
        part = todo.pop()
        name = part.get("name") if isinstance(part, dict) else part if isinstance(part, str) else None
        if name in named:
            if name in found:
                continue
            found.add(name)
            part = named[name]
        todo.extend(_parts(part))
    return found


def _reaches(name: str, named: dict[str, Any]) -> bool:
    return any(name in _names_in(part, named) for part in _parts(named[name]))


def _has_empty_items(schema: Any, named: dict[str, Any]) -> bool:
    todo = [schema, *(named[name] for name in _names_in(schema, named))]
    while todo:
        part = todo.pop()
        if kind_of(part) == "array" and _is_empty(part["items"], named):
            return True
        todo.extend(_parts(part))
    return False


def _is_empty(schema: Any, named: dict[str, Any]) -> bool:
    """Whether its values take no bytes. A record that holds itself directly has no values at all."""
    if _names_in(schema, named) & {name for name in named if _reaches(name, named)}:
        return False
    schema = resolved(schema, named)
    kind = kind_of(schema)
    if kind == "record":
        return all(_is_empty(field["type"], named) for field in schema["fields"])
    return kind == "null" or (kind == "fixed" and schema["size"] == 0)


class _Walk:
    """One walk over the bytes of one value."""

    def __init__(self, body: bytes, named: dict[str, Any]) -> None:
        self._body = body
        self._named = named
        self._at = 0
        self._depth = 0
        self._empty_items = 0
        self._tasks: list[_Task] = []

    def over(self, schema: Any) -> None:
        """Raises DecodeError where the value is too deep, too wide, or ends too early."""
        self._tasks.append(("value", schema, 0))
        while self._tasks:
            step, part, count = self._tasks.pop()
            if step == "value":
                self._value(resolved(part, self._named))
            elif step == "close":
                self._depth -= 1
            elif count:
                self._tasks.append(("items", part, count - 1))
                self._item(part)
            else:
                self._block(part)

    def _value(self, schema: Any) -> None:
        kind = kind_of(schema)
        if kind in _WIDTHS:
            self._skip(_WIDTHS[kind])
        elif kind in _NUMBERS:
            self._number()
        elif kind in ("string", "bytes"):
            self._skip(self._number())
        elif kind == "fixed":
            self._skip(schema["size"])
        elif kind == "union":
            self._branch(schema)
        else:
            self._container(schema)

    def _container(self, schema: Any) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise DecodeError(f"the value nests deeper than {MAX_DEPTH} levels")
        self._tasks.append(("close", None, 0))
        if "fields" in schema:
            self._tasks.extend(("value", field["type"], 0) for field in reversed(schema["fields"]))
        else:
            self._tasks.append(("items", schema, 0))

    def _item(self, schema: Any) -> None:
        if "values" in schema:
            self._skip(self._number())
        self._tasks.append(("value", schema.get("items", schema.get("values")), 0))

    def _block(self, schema: Any) -> None:
        count = self._number()
        if count < 0:
            count = -count
            self._number()
        if not count:
            return
        if "items" in schema and _is_empty(schema["items"], self._named):
            self._empty_items += count
            if self._empty_items > MAX_EMPTY_ITEMS:
                raise DecodeError(f"the value has more than {MAX_EMPTY_ITEMS} items of no bytes")
            self._tasks.append(("items", schema, 0))
        else:
            self._tasks.append(("items", schema, count))

    def _branch(self, union: list[Any]) -> None:
        index = self._number()
        if not 0 <= index < len(union):
            raise DecodeError("a union has no branch of that index")
        self._tasks.append(("value", union[index], 0))

    def _number(self) -> int:
        number, self._at = varint(self._body, self._at)
        return number

    def _skip(self, width: int) -> None:
        self._at += width
        if width < 0 or self._at > len(self._body):
            raise DecodeError(_TRUNCATED)
