"""What the fake schema registry holds: subjects, their versions, schemas by id, and how compatible they must be."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kaufmann_celery.errors import EventError
from kaufmann_celery.registry.avro_rules import fault_of
from kaufmann_celery.registry.client import Reference
from kaufmann_celery.transcoders.avro_compatibility import misfits
from kaufmann_celery.transcoders.avro_parse import ParsedSchema, parse

LEVELS: Final = ("NONE", *(f"{way}{all_}" for way in ("BACKWARD", "FORWARD", "FULL") for all_ in ("", "_TRANSITIVE")))
MODES: Final = ("READWRITE", "READONLY")


class Refusal(Exception):
    """The registry refuses, with the HTTP status and the error code that Confluent's has for it."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True, slots=True)
class StoredSchema:
    """A schema, under as many subjects as have registered it."""

    id: int
    guid: str
    #: JSON, as it was registered.
    text: str
    references: tuple[Reference, ...]
    #: The same for schemas that differ in white space and the order of attributes only.
    identity: str


@dataclass(slots=True)
class Version:
    """One version of a subject."""

    subject: str
    number: int
    schema: StoredSchema
    is_deleted: bool = False


@dataclass(slots=True)
class SchemaStore:
    """All of it. Not thread-safe. Every method raises `Refusal` where the registry would."""

    #: The global compatibility level.
    level: str = "BACKWARD"
    mode: str = "READWRITE"
    #: What an incompatible schema's error code is: 40901 since late 2025, 409 before and in Karapace and Apicurio.
    incompatible_code: int = 40901
    levels: dict[str, str] = field(default_factory=dict)
    _subjects: dict[str, list[Version]] = field(default_factory=dict)
    _ids: int = 0

    def register(self, subject: str, text: str, references: Sequence[Reference] = ()) -> Version:
        """Return the subject's version that is this schema, made now unless there is one."""
        if self.mode == "READONLY":
            raise Refusal(422, 42205, f"Subject '{subject}' is in read-only mode")
        parsed = self._accepted(text, references)
        same = self._same(subject, text, references)
        if same is not None:
            return same
        earlier = [one for one in self._subjects.get(subject, ()) if not one.is_deleted]
        faults = self._incompatible(parsed, earlier, self.levels.get(subject, self.level))
        if faults:
            reason = "Schema being registered is incompatible with an earlier schema for subject"
            raise Refusal(409, self.incompatible_code, f'{reason} "{subject}", details: [{", ".join(faults)}]')
        return self.add(subject, text, references)

    def add(self, subject: str, text: str, references: Sequence[Reference] = ()) -> Version:
        """Make the schema the subject's next version, whatever it is."""
        numbers = [one.number for one in self._subjects.get(subject, ())]
        version = Version(subject, max(numbers, default=0) + 1, self._stored(text, references))
        self._subjects.setdefault(subject, []).append(version)
        return version

    def lookup(self, subject: str, text: str, references: Sequence[Reference] = ()) -> Version:
        """Return the subject's version that is this schema."""
        self._accepted(text, references)
        self.versions(subject)
        same = self._same(subject, text, references)
        if same is None:
            raise Refusal(404, 40403, "Schema not found")
        return same

    def subjects(self, *, deleted: bool = False) -> list[str]:
        """Return the names; *deleted* also those of which every version is."""
        return sorted(name for name, found in self._subjects.items() if deleted or any(not o.is_deleted for o in found))

    def versions(self, subject: str, *, deleted: bool = False) -> list[Version]:
        """Return the subject's versions, oldest first."""
        found = [one for one in self._subjects.get(subject, ()) if deleted or not one.is_deleted]
        if not found:
            raise Refusal(404, 40401, f"Subject '{subject}' not found.")
        return found

    def version(self, subject: str, which: str, *, deleted: bool = False) -> Version:
        """Return the version *which*: a number, `latest` or `-1`."""
        number = _number(which)
        found = self.versions(subject, deleted=deleted)
        wanted = found[-1] if number is None else next((one for one in found if one.number == number), None)
        if wanted is None:
            raise Refusal(404, 40402, f"Version {which} not found.")
        return wanted

    def by_id(self, schema_id: int) -> StoredSchema:
        """Return the schema of that id, also where all its versions are deleted, but not permanently."""
        return self._schema(lambda schema: schema.id == schema_id, schema_id)

    def by_guid(self, guid: str) -> StoredSchema:
        """Return the schema of that GUID."""
        return self._schema(lambda schema: schema.guid == guid, guid)

    def uses(self, schema: StoredSchema, *, deleted: bool = False) -> list[Version]:
        """Return the versions that are this schema."""
        return [one for one in self._all() if one.schema.id == schema.id and (deleted or not one.is_deleted)]

    def referring(self, version: Version) -> list[int]:
        """Return the ids of the schemas that refer to *version*."""
        target = (version.subject, version.number)
        schemas = [one.schema for one in self._all() if not one.is_deleted]
        return sorted({one.id for one in schemas if target in {(ref.subject, ref.version) for ref in one.references}})

    def incompatible(
        self, subject: str, text: str, references: Sequence[Reference], which: str | None = None
    ) -> list[str]:
        """Return what makes it unfit as the subject's next version; *which*: beside that version alone."""
        parsed, level = self._accepted(text, references), self.levels.get(subject, self.level)
        if subject not in self.subjects() and which in (None, "latest"):
            return []
        earlier = self.versions(subject) if which is None else [self.version(subject, which)]
        return self._incompatible(parsed, earlier, level)

    def delete(self, versions: Sequence[Version], *, permanent: bool = False) -> list[int]:
        """Delete; a permanent deletion comes after one that is not. Return the versions' numbers."""
        for one in versions:
            if referring := self.referring(one):
                raise Refusal(422, 42206, f"One or more references exist to the schema: ids {referring}")
        for one in versions:
            if permanent:
                self._subjects[one.subject].remove(one)
                if not self._subjects[one.subject]:
                    del self._subjects[one.subject]
            one.is_deleted = True
        return [one.number for one in versions]

    def level_of(self, subject: str, *, or_global: bool) -> str:
        """Return the subject's own compatibility level."""
        if subject in self.levels:
            return self.levels[subject]
        if or_global:
            return self.level
        raise Refusal(404, 40408, f"Subject '{subject}' does not have subject-level compatibility configured")

    def set_level(self, level: str, subject: str | None = None) -> None:
        """Set the level of a subject, or of all that have none of their own."""
        if level not in LEVELS:
            raise Refusal(422, 42203, f"Invalid compatibility level. Valid values are {', '.join(LEVELS)}")
        if subject is None:
            self.level = level
        else:
            self.levels[subject] = level

    def set_mode(self, mode: str) -> None:
        """Set the mode; READONLY refuses what would be registered."""
        if mode not in MODES:
            raise Refusal(422, 42204, f"Invalid mode. Valid values are {', '.join(MODES)}")
        self.mode = mode

    def _incompatible(self, new: ParsedSchema, earlier: Sequence[Version], level: str) -> list[str]:
        against = earlier if level.endswith("_TRANSITIVE") else earlier[-1:]
        return [fault for one in against for fault in self._faults(new, one, level)]

    def _faults(self, new: ParsedSchema, earlier: Version, level: str) -> list[str]:
        old = self._parsed(earlier.schema.text, earlier.schema.references)
        backward = misfits(new, old) if level.startswith(("BACKWARD", "FULL")) else []
        forward = misfits(old, new) if level.startswith(("FORWARD", "FULL")) else []
        return [*backward, *forward]

    def _accepted(self, text: str, references: Sequence[Reference]) -> ParsedSchema:
        try:
            fault = fault_of(json.loads(text))
        except (ValueError, RecursionError) as error:
            fault = str(error)
        if fault:
            raise Refusal(422, 42201, f"Invalid schema: {fault}")
        return self._parsed(text, references)

    def _parsed(self, text: str, references: Iterable[Reference]) -> ParsedSchema:
        try:
            return parse(json.loads(text), list(self._named(references, {}).values()))
        except (ValueError, EventError) as error:
            raise Refusal(422, 42201, f"Invalid schema: {error}") from error

    def _named(self, references: Iterable[Reference], found: dict[tuple[str, int], Any]) -> dict[tuple[str, int], Any]:
        """Return the schemas referred to, dependencies first."""
        for one in references:
            if (one.subject, one.version) in found:
                continue
            try:
                schema = self.version(one.subject, str(one.version)).schema
            except Refusal as refusal:
                raise Refusal(422, 42201, f"Invalid schema: no reference {one.subject} {one.version}") from refusal
            self._named(schema.references, found)
            found[one.subject, one.version] = json.loads(schema.text)
        return found

    def _stored(self, text: str, references: Sequence[Reference]) -> StoredSchema:
        identity = _identity(text, references)
        known = next((one.schema for one in self._all() if one.schema.identity == identity), None)
        if known is not None:
            return known
        self._ids += 1
        guid = str(uuid.uuid5(uuid.NAMESPACE_OID, identity))
        return StoredSchema(self._ids, guid, text, tuple(references), identity)

    def _same(self, subject: str, text: str, references: Sequence[Reference]) -> Version | None:
        identity = _identity(text, references)
        live = [one for one in self._subjects.get(subject, ()) if not one.is_deleted]
        return next((one for one in live if one.schema.identity == identity), None)

    def _schema(self, is_it: Callable[[StoredSchema], bool], name: object) -> StoredSchema:
        for one in self._all():
            if is_it(one.schema):
                return one.schema
        raise Refusal(404, 40403, f"Schema {name} not found")

    def _all(self) -> list[Version]:
        return [one for versions in self._subjects.values() for one in versions]


def _identity(text: str, references: Iterable[Reference]) -> str:
    referred = [(one.name, one.subject, one.version) for one in references]
    return json.dumps([json.loads(text), referred], sort_keys=True)


def _number(which: str) -> int | None:
    """Return a version's number, None for the latest."""
    if which in ("latest", "-1"):
        return None
    if not which.isdecimal() or not 0 < int(which) < 2**31:
        allowed = 'Allowed values are between [1, 2^31-1] and the string "latest"'
        raise Refusal(422, 42202, f"The specified version '{which}' is not a valid version id. {allowed}")
    return int(which)
