"""Schemas of files held against what the registry has: which fit, and what is at fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kaufmann_celery.errors import EventError
from kaufmann_celery.registry.client import RegisteredSchema, SchemaNotFound, SchemaRegistry, SchemaRejected
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.transcoders.avro_compatibility import misfits
from kaufmann_celery.transcoders.avro_parse import ParsedSchema, parse

#: As registries name them.
LEVELS = (
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE",
)  # fmt: skip

#: `compatible`: would be registered, and was not, because of *check* or because another is at fault. `planned`: would
#: be reset. `deleted`: and not registered again yet. `refused`: by the registry, though all had been checked.
State = Literal[
    "registered", "unchanged", "compatible", "incompatible", "invalid", "planned", "deleted", "reset", "refused"
]


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What became of one schema."""

    subject: str
    #: None for the one that ships with kaufmann-celery.
    file: Path | None
    state: State
    #: The registry's id where it is registered there.
    id: int | None = None
    #: Why it is incompatible, invalid or refused, one sentence each.
    reasons: tuple[str, ...] = ()
    #: The versions that a reset deletes, or has deleted.
    versions: tuple[int, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Return whether somebody has to change the schema, or something about the registry."""
        return self.state in ("incompatible", "invalid", "refused")


class SchemaChecks:
    """Holds schemas against what is registered, by the compatibility *level*, or by the registry's for None."""

    def __init__(self, registry: SchemaRegistry, level: str | None, local: LocalSchemas) -> None:
        self._registry = registry
        self._level = level
        self._local = local
        #: What is to be registered of each subject.
        self.chosen: dict[str, Any] = {}

    def of(self, subject: str, file: Path | None, schema: Any) -> SchemaReport:
        """Return what would become of a schema. Raises `UnavailableError`."""
        try:
            return self._judged(subject, file, schema)
        except SchemaRejected as error:
            return SchemaReport(subject, file, "invalid", reasons=(str(error),))

    def _judged(self, subject: str, file: Path | None, schema: Any) -> SchemaReport:
        versions = versions_of(self._registry, subject)
        schema = self.chosen[subject] = self._in_its_form(subject, schema, versions)
        known = self._known_id(subject, schema, versions)
        if known is not None:
            return SchemaReport(subject, file, "unchanged", known)
        registrys = self._registry.check_compatibility(subject, schema)
        level = self._level or self._registrys_level(subject)
        # A registry says that something is wrong, hardly ever what.
        reasons = self._misfits(subject, parse(schema), versions, level) or (registrys if level != "NONE" else [])
        return SchemaReport(subject, file, "incompatible" if reasons else "compatible", reasons=tuple(reasons))

    def _in_its_form(self, subject: str, schema: Any, versions: list[int]) -> Any:
        """Return the schema, without KaufmannEx's union where the subject is registered without one."""
        alone = self._local.without_metadata(subject)
        if alone is None or not versions:
            return schema
        return schema if isinstance(self._registry.version(subject, versions[-1]).schema, list) else alone

    def _known_id(self, subject: str, schema: Any, versions: list[int]) -> int | None:
        """Return the id of the version of *subject* that is *schema*; None where there is none. The newest first."""
        for number in reversed(versions):
            version = self._registry.version(subject, number)
            if _plain(version.schema) == _plain(schema):
                return version.id
        return None

    def _registrys_level(self, subject: str) -> str:
        # Some registries enforce nothing until they are told to; our readers need what was written before.
        level = self._registry.compatibility(subject)
        return level if level in LEVELS and level != "NONE" else "BACKWARD"

    def _misfits(self, subject: str, ours: ParsedSchema, versions: list[int], level: str) -> list[str]:
        found: list[str] = []
        if level == "NONE":
            return found
        for number in reversed(versions if level.endswith("_TRANSITIVE") else versions[-1:]):
            theirs = self._parsed(self._registry.version(subject, number))
            if theirs is None:
                continue
            where = "" if number == versions[-1] else f"version {number}: "
            if not level.startswith("FORWARD"):
                found += [f"{where}{one}" for one in misfits(ours, theirs)]
            if not level.startswith("BACKWARD"):
                found += [f"{where}{one}, for those who know only what is registered" for one in misfits(theirs, ours)]
        return found

    def _parsed(self, version: RegisteredSchema) -> ParsedSchema | None:
        try:
            return parse(version.schema, self._registry.references_of(version))
        except EventError:
            return None  # then the registry's own check has to do


def versions_of(registry: SchemaRegistry, subject: str) -> list[int]:
    """Return the numbers of the subject's versions, none where there is no such subject."""
    try:
        return registry.versions(subject)
    except SchemaNotFound:
        return []


def _plain(schema: Any) -> Any:
    """Return *schema* without the empty namespaces that registries drop."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if isinstance(schema, Mapping):
        return {key: _plain(part) for key, part in schema.items() if (key, part) != ("namespace", "")}
    return schema
