"""Whether what one Avro schema wrote can be read by another, by the specification's rules of resolution. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from kaufmann_celery.transcoders.avro_parse import ParsedSchema, kind_of, resolved

#: What a reader's type may also read, beside its own.
_PROMOTED: Final = {
    "long": {"int"},
    "float": {"int", "long"},
    "double": {"int", "long", "float"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def incompatibilities(reader: ParsedSchema, writer: ParsedSchema) -> list[str]:
    """Return what keeps *reader* from reading what *writer* wrote, one entry for each fault; empty where nothing."""
    return list(_Resolution(reader.named, writer.named).faults(reader.schema, writer.schema, ""))


@dataclass(slots=True)
class _Resolution:
    reader_types: dict[str, Any]
    writer_types: dict[str, Any]
    #: Records under way, or done: a type may hold itself.
    _seen: set[tuple[str, str]] = field(default_factory=set)

    def faults(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        reader, writer = resolved(reader, self.reader_types), resolved(writer, self.writer_types)
        if isinstance(writer, list):
            for index, branch in enumerate(writer):
                yield from self.faults(reader, branch, f"{path}/{index}")
        elif isinstance(reader, list):
            yield from self._union(reader, writer, path)
        else:
            yield from self._of_kind(reader, writer, path)

    def _union(self, reader: list[Any], writer: Any, path: str) -> Iterator[str]:
        for branch in reader:
            seen = set(self._seen)
            if not list(self.faults(branch, writer, path)):
                return
            self._seen = seen
        yield _fault("MISSING_UNION_BRANCH", path, f"The new schema's union has no branch for {_shown(writer)}")

    def _of_kind(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        kind, other = kind_of(reader), kind_of(writer)
        if kind != other:
            if other not in _PROMOTED.get(kind, ()):
                yield _fault("TYPE_MISMATCH", path, f"The type was {_shown(writer)} and is now {_shown(reader)}")
        elif kind == "array":
            yield from self.faults(reader["items"], writer["items"], f"{path}/items")
        elif kind == "map":
            yield from self.faults(reader["values"], writer["values"], f"{path}/values")
        elif kind in ("record", "error", "enum", "fixed"):
            yield from self._named(kind, reader, writer, path)

    def _named(self, kind: str, reader: Any, writer: Any, path: str) -> Iterator[str]:
        if _simple(reader["name"]) != _simple(writer["name"]) and writer["name"] not in _aliases(reader):
            yield _fault("NAME_MISMATCH", f"{path}/name", f"The name was {writer['name']} and is now {reader['name']}")
        elif kind == "fixed" and reader["size"] != writer["size"]:
            yield _fault(
                "FIXED_SIZE_MISMATCH", f"{path}/size", f"The size was {writer['size']} and is now {reader['size']}"
            )
        elif kind == "enum":
            missing = [symbol for symbol in writer["symbols"] if symbol not in reader["symbols"]]
            if missing and "default" not in reader:
                gone = ", ".join(missing)
                yield _fault("MISSING_ENUM_SYMBOLS", f"{path}/symbols", f"The new schema's enum lacks {gone}")
        elif kind in ("record", "error"):
            yield from self._fields(reader, writer, path)

    def _fields(self, reader: Any, writer: Any, path: str) -> Iterator[str]:
        pair = (reader["name"], writer["name"])
        if pair in self._seen:
            return
        self._seen.add(pair)
        written = {one["name"]: one for one in writer["fields"]}
        for index, one in enumerate(reader["fields"]):
            names = (one["name"], *one.get("aliases", ()))
            source = next((written[name] for name in names if name in written), None)
            where = f"{path}/fields/{index}"
            if source is not None:
                yield from self.faults(one["type"], source["type"], f"{where}/type")
            elif "default" not in one:
                yield _fault(
                    "READER_FIELD_MISSING_DEFAULT_VALUE", where,
                    f"The field '{one['name']}' has no default value in the new schema and is missing in the old one",
                )  # fmt: skip


def _fault(kind: str, path: str, description: str) -> str:
    return f"{{errorType:'{kind}', description:\"{description}, at path '{path or '/'}'\"}}"


def _simple(name: str) -> str:
    return name.rpartition(".")[2]


def _aliases(schema: Any) -> set[str]:
    namespace = schema["name"].rpartition(".")[0]
    aliases = schema.get("aliases", ())
    return {alias if "." in alias or not namespace else f"{namespace}.{alias}" for alias in aliases}


def _shown(schema: Any) -> str:
    return str(schema["name"]) if isinstance(schema, dict) and "name" in schema else kind_of(schema)
