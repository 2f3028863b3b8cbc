"""Which branch of a union a value is written in: AvroEx's rule, so that the bytes are KaufmannEx's.

AvroEx takes the first branch that holds the value as it is: a float is one of `float` only where 32 bits lose nothing,
an integer is none of `float` and `double`, and a record has exactly its own fields. fastavro's rules are others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from kaufmann_celery.registry.named_types import NAMED
from kaufmann_celery.transcoders.avro_check import Check, Checks, Mismatch
from kaufmann_celery.transcoders.avro_parse import kind_of, resolved

#: The Python types that values of an Avro type have.
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "int": (int, date, time),
    "long": (int, datetime, time),
    "float": (float, int),
    "double": (float, int),
    "string": (str, UUID),
    "enum": (str,),
    "bytes": (bytes, bytearray, Decimal),
    "fixed": (bytes, Decimal, UUID),
    "array": (list, tuple),
    "map": (dict,),
    "record": (dict,),
    "error": (dict,),
}
_MISSING: Final = object()

#: Puts into a container, under a key, what is to be written of the value there.
_Step = Callable[[Any, Any, "list[_Task]"], None]
_Task = tuple[_Step, Any, Any]
#: A copy of a container; what is to be done with its items is appended to the tasks.
_Copy = Callable[[Any, "list[_Task]"], Any]


def chooser_of(schema: Any, named: dict[str, Any]) -> Callable[[Any], Any] | None:
    """What gives a value that fits in fastavro's form `(branch, value)` at each union; None where it needs none."""
    builder = _Builder(named)
    first = builder.step(schema)
    if first is None or not builder.has_choice:
        return None

    def choose(value: Any) -> Any:
        whole = [value]
        tasks: list[_Task] = [(first, whole, 0)]
        while tasks:  # not by recursion: values nest nearly as deep as Python's stack
            step, container, key = tasks.pop()
            step(container, key, tasks)
        return whole[0]

    return choose


@dataclass(frozen=True, slots=True)
class _Branch:
    """One branch of a union."""

    #: As fastavro calls it.
    name: str
    kind: str
    #: None where a value stays as it is.
    copy: _Copy | None
    #: Whether the value is one of this type by AvroEx's rule, and by ours.
    exact: Check
    lenient: Check


class _Builder:
    """Turns schemas into steps. None stands for a part that has no union in which there is a choice."""

    def __init__(self, named: dict[str, Any]) -> None:
        self._named = named
        self._records: dict[str, _Copy | None] = {}
        self._exact = Checks(named, exact=True)
        self._lenient = Checks(named)
        #: Whether some value fits more than one branch of its union.
        self.has_choice = False

    def step(self, schema: Any) -> _Step | None:
        schema = resolved(schema, self._named)
        if isinstance(schema, list):
            return self._union(schema)
        copy = self._copy(schema)
        return None if copy is None else _copied(copy)

    def _copy(self, schema: Any) -> _Copy | None:
        kind = kind_of(schema)
        if kind in ("record", "error"):
            return self._record(schema)
        if kind not in ("array", "map"):
            return None
        step = self.step(schema["items" if kind == "array" else "values"])
        return None if step is None else (_array if kind == "array" else _map)(step)

    def _record(self, schema: dict[str, Any]) -> _Copy | None:
        name = schema["name"]
        if name not in self._records:
            fields: list[tuple[str, _Step, Any]] = []
            self._records[name] = _record(fields)
            for field in schema["fields"]:
                step = self.step(field["type"])
                if step is not None:
                    fields.append((field["name"], step, field.get("default", _MISSING)))
            if not fields:
                self._records[name] = None
        return self._records[name]

    def _union(self, union: list[Any]) -> _Step | None:
        branches = [self._branch(branch) for branch in union]
        if len({branch.name for branch in branches}) < len(branches):
            return None  # no Avro, and fastavro could not tell them apart
        by_type: dict[type, list[_Branch]] = {}
        for branch in branches:
            for kind in _TYPES[branch.kind]:
                by_type.setdefault(kind, []).append(branch)
        is_choice = any(len(taking) > 1 for taking in by_type.values())
        self.has_choice |= is_choice
        if not is_choice and all(branch.copy is None for branch in branches):
            return None
        return _chosen(branches, by_type)

    def _branch(self, written: Any) -> _Branch:
        schema = resolved(written, self._named)
        kind = kind_of(schema)
        copy = self._copy(schema)
        if kind == "array" and copy is None:
            copy = _as_list
        return _Branch(
            name=schema["name"] if kind in NAMED else kind,
            kind=kind,
            copy=copy,
            exact=self._exact.build(schema)[1],
            lenient=self._lenient.build(schema)[1],
        )


def _copied(copy: _Copy) -> _Step:
    def step(container: Any, key: Any, tasks: list[_Task]) -> None:
        container[key] = copy(container[key], tasks)

    return step


def _chosen(branches: Sequence[_Branch], by_type: dict[type, list[_Branch]]) -> _Step:
    def step(container: Any, key: Any, tasks: list[_Task]) -> None:
        value = container[key]
        taking = by_type.get(type(value), branches)
        branch = taking[0] if len(taking) == 1 else _first(taking, value)
        if branch is not None:
            container[key] = (branch.name, value if branch.copy is None else branch.copy(value, tasks))

    return step


def _first(branches: Sequence[_Branch], value: Any) -> _Branch | None:
    for branch in branches:
        if _fits(branch.exact, value):
            return branch
    # A number that is none of them as it is had better lose nothing.
    by_loss = sorted(branches, key=lambda branch: branch.kind == "float")
    return next((branch for branch in by_loss if _fits(branch.lenient, value)), None)


def _fits(check: Check, value: Any) -> bool:
    try:
        check(value)
    except Mismatch:
        return False
    return True


def _record(fields: list[tuple[str, _Step, Any]]) -> _Copy:
    def copy(value: Any, tasks: list[_Task]) -> Any:
        copied = dict(value)
        for name, step, default in fields:
            if name not in copied:
                if default is _MISSING:
                    continue
                copied[name] = default
            tasks.append((step, copied, name))
        return copied

    return copy


def _array(step: _Step) -> _Copy:
    def copy(value: Any, tasks: list[_Task]) -> Any:
        copied = list(value)
        tasks.extend((step, copied, index) for index in range(len(copied)))
        return copied

    return copy


def _as_list(value: Any, tasks: list[_Task]) -> Any:
    """A tuple would be taken for a branch and its value."""
    del tasks
    return list(value)


def _map(step: _Step) -> _Copy:
    def copy(value: Any, tasks: list[_Task]) -> Any:
        copied = dict(value)
        tasks.extend((step, copied, key) for key in copied)
        return copied

    return copy
