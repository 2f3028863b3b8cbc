"""What keeps one Avro schema from reading what another wrote, field by field. Pure.

Avro's rules of schema resolution, asked of whole schemas: registries know them too, but do not say which field is at
fault. A fault reads `payload.items[].price: double -> string`, from the writer's type to the reader's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from kaufmann_celery.transcoders.avro_parse import ParsedSchema, kind_of, resolved

#: What else a reader's type reads, besides itself.
_PROMOTED: Final = {
    "long": {"int"},
    "float": {"int", "long"},
    "double": {"int", "long", "float"},
    "string": {"bytes"},
    "bytes": {"string"},
}
_NAMED: Final = ("record", "error", "enum", "fixed")


def misfits(reader: ParsedSchema, writer: ParsedSchema) -> list[str]:
    """Return why *reader* cannot read everything that *writer* may have written, a line for each field; or nothing."""
    return list(dict.fromkeys(_Comparison(reader, writer).of(reader.schema, writer.schema, "")))


class _Comparison:
    def __init__(self, reader: ParsedSchema, writer: ParsedSchema) -> None:
        self._read = reader.named
        self._written = writer.named
        #: Records that fit, or are being compared further up: a type may hold itself.
        self._fine: set[tuple[str, str]] = set()

    def of(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        reader, writer = resolved(reader, self._read), resolved(writer, self._written)
        if isinstance(writer, list):
            yield from self._from_union(reader, writer, path)
        elif isinstance(reader, list):
            yield from self._into_union(reader, writer, path)
        else:
            yield from self._plain(reader, writer, path)

    def _from_union(self, reader: Any, writer: list[Any], path: str) -> Iterator[str]:
        """Every branch may have been written."""
        if isinstance(reader, list):
            is_less = all(any(self._is_of_a_kind(one, other) for other in writer) for one in reader)
            for branch in writer:
                if is_less and not any(self._is_of_a_kind(one, branch) for one in reader):
                    yield f"{path or 'the whole value'}: {self._label(branch, self._written)} is no branch any more"
                else:
                    yield from self._into_union(reader, resolved(branch, self._written), path)
            return
        if not all(self._is_of_a_kind(reader, branch) for branch in writer):
            yield self._changed(path, writer, reader)
        for branch in writer:
            if self._is_of_a_kind(reader, branch):
                yield from self.of(reader, branch, path)

    def _into_union(self, reader: list[Any], writer: Any, path: str) -> Iterator[str]:
        found = [list(self.of(branch, writer, path)) for branch in reader if self._is_of_a_kind(branch, writer)]
        if not found:
            others = [branch for branch in reader if branch != "null"]
            yield self._changed(path, writer, others[0] if len(others) == 1 and writer != "null" else reader)
        elif all(found):
            yield from found[0]

    def _plain(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        if not self._is_of_a_kind(reader, writer):
            yield self._changed(path, writer, reader)
            return
        kind = kind_of(reader)
        if kind in ("record", "error"):
            pair = (reader["name"], writer["name"])
            if pair not in self._fine:
                self._fine.add(pair)
                found = list(self._records(reader, writer, path))
                if found:
                    self._fine.discard(pair)
                yield from found
        elif kind == "array":
            yield from self.of(reader["items"], writer["items"], f"{path}[]")
        elif kind == "map":
            yield from self.of(reader["values"], writer["values"], f"{path}[…]")
        elif kind == "enum":
            yield from _enums(reader, writer, path)

    def _records(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        written = {field["name"]: field for field in writer["fields"]}
        for field in reader["fields"]:
            names = (field["name"], *field.get("aliases", ()))
            before = next((written[name] for name in names if name in written), None)
            here = f"{path}.{field['name']}" if path else str(field["name"])
            if before is not None:
                yield from self.of(field["type"], before["type"], here)
            elif "default" not in field:
                yield f"{here}: is new and has no default"

    def _is_of_a_kind(self, reader: Any, writer: Any) -> bool:
        """Return whether a value of *writer*, no union, goes to *reader*, no union either, leaving parts aside."""
        reader, writer = resolved(reader, self._read), resolved(writer, self._written)
        kind, was = kind_of(reader), kind_of(writer)
        if kind != was:
            return was in _PROMOTED.get(kind, ())
        if kind in _NAMED and not _is_same_name(reader, writer):
            return False
        if kind == "fixed" and reader["size"] != writer["size"]:
            return False
        return _decimal(reader) == _decimal(writer)

    def _changed(self, path: str, was: Any, now: Any) -> str:
        return f"{path or 'the whole value'}: {self._label(was, self._written)} -> {self._label(now, self._read)}"

    def _label(self, schema: Any, named: dict[str, Any]) -> str:
        schema = resolved(schema, named)
        if isinstance(schema, list):
            return " or ".join(self._label(branch, named) for branch in schema)
        kind = kind_of(schema)
        if decimal := _decimal(schema):
            return "decimal({}, {})".format(*decimal)
        if kind == "fixed":
            return f"fixed {schema['name']} of {schema['size']} bytes"
        return f"{kind} {schema['name']}" if kind in _NAMED else kind


def _enums(reader: Any, writer: Any, path: str) -> Iterator[str]:
    gone = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
    if gone and "default" not in reader:
        yield f"{path or 'the whole value'}: enum {reader['name']} has no {', '.join(gone)} any more, and no default"


def _is_same_name(reader: Any, writer: Any) -> bool:
    short = str(writer["name"]).rpartition(".")[2]
    aliases = reader.get("aliases", ())
    return str(reader["name"]).rpartition(".")[2] == short or bool({writer["name"], short}.intersection(aliases))


def _decimal(schema: Any) -> tuple[int, int] | None:
    """Return precision and scale of a decimal, whose digits mean nothing by another scale."""
    if not isinstance(schema, dict) or "decimal" not in str(schema.get("logicalType")):
        return None
    return int(schema["precision"]), int(schema.get("scale", 0))
