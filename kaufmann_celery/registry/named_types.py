"""Named types across files: what another .avsc defines is written out where a schema first uses it. Pure.

A schema that is complete in itself is read by every registry and every library; references between subjects are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

PRIMITIVE: Final = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NAMED: Final = frozenset({"record", "error", "enum", "fixed"})
_BUILT_IN: Final = PRIMITIVE | NAMED | {"array", "map"}


class Incomplete(ValueError):
    """What keeps a schema from being complete, in words for whoever wrote the file."""


@dataclass(frozen=True, slots=True)
class _Definition:
    """A named type, where it stands, and the namespace that its own parts are in."""

    file: Path
    schema: dict[str, Any]
    namespace: str


class NamedTypes:
    """All named types that some files define, at any depth."""

    def __init__(self, schemas: Mapping[Path, Any]) -> None:
        self._by_name: dict[str, list[_Definition]] = {}
        self._own: dict[Path, set[str]] = {}
        self._used: dict[Path, set[str]] = {}
        for file, schema in schemas.items():
            names = self._own[file] = set()
            used = self._used[file] = set()
            for name, part, namespace in named_parts(schema):
                if part is None:
                    used.add(name)
                    continue
                names.add(name)
                self._by_name.setdefault(name, []).append(_Definition(file, part, namespace))

    def complete(self, schema: Any, file: Path) -> Any:
        """Return *schema* of *file* with all that it needs of other files. A type that nobody defines is left.

        Raises `Incomplete` where files need each other in a circle, or define one type differently.
        """
        if circle := self._circle(file):
            steps = ", ".join(f"{one.name} needs {other.name}" for one, other in pairwise(circle))
            raise Incomplete(f"files need each other's types in a circle: {steps}; put these types into one file")
        return _Completion(self, file).of(schema, "", file)

    def check(self, schema: Any) -> None:
        """Raise `Incomplete` where a complete schema uses a type that nobody defines."""
        used, defined = set[str](), set[str]()
        for name, part, _ in named_parts(schema):
            (used if part is None else defined).add(name)
        for name in sorted(used - defined):
            raise Incomplete(f"unknown type {name!r}{self._namesakes(name)}")

    def _namesakes(self, name: str) -> str:
        """Return where types of this name are defined in other namespaces, in words."""
        found = [known for known in self._by_name if _short(known) == _short(name)]
        where = ", ".join(f"{known!r} in {self._by_name[known][0].file}" for known in found)
        return f"; there is {where}: give its namespace, and where it has none give it one" if found else ""

    def elsewhere(self, name: str, file: Path) -> _Definition | None:
        """Return what other files than *file* define by this full name; None where none does."""
        found = [one for one in self._by_name.get(name, ()) if one.file != file]
        for other in found[1:]:
            if other.schema != found[0].schema:
                raise Incomplete(f"type {name} is defined differently in {found[0].file} and in {other.file}")
        return found[0] if found else None

    def is_defined_in(self, file: Path, name: str) -> bool:
        """Return whether *file* itself defines *name*."""
        return name in self._own.get(file, ())

    def _circle(self, file: Path) -> Sequence[Path]:
        """Return the files, from *file* back to it, each of which needs types of the next; empty without."""
        ways: list[list[Path]] = [[file]]
        seen: set[Path] = set()
        while ways:
            way = ways.pop()
            for needed in self._needed_by(way[-1]):
                if needed == file:
                    return [*way, file]
                if needed not in seen:
                    seen.add(needed)
                    ways.append([*way, needed])
        return ()

    def _needed_by(self, file: Path) -> set[Path]:
        names = self._used.get(file, set()) - self._own.get(file, set())
        return {one.file for name in names for one in self._by_name.get(name, ())[:1] if one.file != file}


class _Completion:
    """One schema on its way to being complete: remembers what has been defined so far, and in which file."""

    def __init__(self, types: NamedTypes, file: Path) -> None:
        self._types = types
        self._file = file
        self._defined: dict[str, _Definition] = {}

    def of(self, schema: Any, namespace: str, file: Path) -> Any:
        if isinstance(schema, list):
            return [self.of(branch, namespace, file) for branch in schema]
        if isinstance(schema, str):
            return self._reference(schema, namespace)
        if not isinstance(schema, dict):
            return schema
        if is_definition(schema):
            return self._definition(schema, namespace, file)
        return {
            key: self.of(part, namespace, file) if key in ("type", "items", "values") else part
            for key, part in schema.items()
        }

    def _definition(self, schema: dict[str, Any], namespace: str, file: Path) -> Any:
        name, inner = full_name(schema, namespace)
        known = self._defined.get(name)
        if known is not None and known.file != file:
            if known.schema != schema:
                raise Incomplete(f"type {name} is defined differently in {known.file} and in {file}")
            if "." in name or not namespace:
                return name
        return self._written_out(name, _Definition(file, schema, inner))

    def _reference(self, written: str, namespace: str) -> Any:
        name = resolved_name(written, namespace)
        if written in PRIMITIVE or name in self._defined or self._types.is_defined_in(self._file, name):
            return written
        found = self._types.elsewhere(name, self._file)
        if found is None:
            return written
        out = self._written_out(name, found)
        if found.namespace != namespace and "." not in out["name"]:
            # In its own file it may have its namespace from what it stands in.
            return {**out, "namespace": found.namespace}
        return out

    def _written_out(self, name: str, found: _Definition) -> Any:
        self._defined[name] = found
        fields = found.schema.get("fields")
        if not isinstance(fields, list):
            return found.schema
        return {**found.schema, "fields": [self._field(field, found) for field in fields]}

    def _field(self, field: Any, record: _Definition) -> Any:
        if not isinstance(field, dict) or "type" not in field:
            return field
        return {**field, "type": self.of(field["type"], record.namespace, record.file)}


def named_parts(schema: Any, namespace: str = "") -> Iterator[tuple[str, dict[str, Any] | None, str]]:
    """Yield each definition: full name, schema, its parts' namespace; and each name that is used, with None."""
    if isinstance(schema, str) and schema not in _BUILT_IN:
        yield resolved_name(schema, namespace), None, namespace
    elif isinstance(schema, list):
        for branch in schema:
            yield from named_parts(branch, namespace)
    elif isinstance(schema, dict):
        if is_definition(schema):
            name, namespace = full_name(schema, namespace)
            yield name, schema, namespace
            fields = schema.get("fields")
            parts = [one.get("type") for one in fields if isinstance(one, dict)] if isinstance(fields, list) else []
        else:
            parts = [schema[key] for key in ("type", "items", "values") if key in schema]
        for part in parts:
            yield from named_parts(part, namespace)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def is_definition(schema: dict[str, Any]) -> bool:
    """Return whether an object defines a named type."""
    kind = schema.get("type")
    return isinstance(kind, str) and kind in NAMED and isinstance(schema.get("name"), str)


def full_name(schema: dict[str, Any], namespace: str) -> tuple[str, str]:
    """Return a definition's full name and its namespace."""
    given = schema.get("namespace")
    name = resolved_name(schema["name"], given if isinstance(given, str) else namespace)
    return name, name.rpartition(".")[0]


def resolved_name(name: str, namespace: str) -> str:
    """Return the full name of a type that is called *name* in *namespace*."""
    return name if "." in name or not namespace else f"{namespace}.{name}"
