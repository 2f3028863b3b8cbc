"""Bytes to payload: which schema wrote a record's value, and what it says.

In this order: a header that names the schema; Confluent's prefix (a zero byte and four of id), where that
id is known and its schema fits to the last byte; bare Avro by subject, latest version first, then older ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from kaufmann_celery.errors import DecodeError, EventError
from kaufmann_celery.registry.client import RegisteredSchema, SchemaNotFound, SchemaRegistry
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.transcoders.avro import AvroSchema
from kaufmann_celery.transcoders.transcoder import Decoded
from kaufmann_celery.transcoders.writing import SCHEMA_ID_HEADER

#: Confluent's: 01 and 16 bytes of GUID, or 00 and four of id.
CONFLUENT_HEADER: Final = "__value_schema_id"

#: Bare Avro may look like a prefix, with an id that is none. After so many, a subject's are tried last.
_MAX_STRAY_PREFIXES: Final = 16
_MAX_DECIMAL_DIGITS: Final = 10


class AvroReader:
    """Decodes with schemas from the registry. Thread-safe; blocks on HTTP for what its cache lacks.

    A subject's schema in *local* is its reader schema: values are resolved into it. Without one they stay in
    their writer's.
    """

    def __init__(self, registry: SchemaRegistry, local: LocalSchemas | None = None) -> None:
        self._registry = registry
        self._local = local
        self._schemas: dict[tuple[int | str, str | None], AvroSchema] = {}
        self._older: dict[str, tuple[int, list[int]]] = {}
        self._stray_prefixes: dict[str, int] = {}

    def read(self, subject: str | Sequence[str] | None, value: bytes, headers: Mapping[str, bytes]) -> Decoded:
        """Payload and meta of a record's value.

        Of several subjects the first that the registry has counts. None: only a header or a prefix can name
        the schema.

        Raises:
            DecodeError: no schema fits.
            SchemaNotFound: the registry has neither the id in the header nor the subject.
            UnavailableError: the registry does not answer; the record may be as good as any.
        """
        subjects = (subject,) if isinstance(subject, str) else tuple(subject or ())
        first = subjects[0] if subjects else None
        if SCHEMA_ID_HEADER in headers:
            return self._by_id(_decimal(headers[SCHEMA_ID_HEADER]), subjects, value)
        if CONFLUENT_HEADER in headers:
            return self._by_confluent_header(headers[CONFLUENT_HEADER], subjects, value)
        if value[:1] != b"\0" or len(value) < 5:
            return self._bare(subjects, value)
        if first is None or self._stray_prefixes.get(first, 0) < _MAX_STRAY_PREFIXES:
            return self._prefixed(subjects, value) or self._bare(subjects, value)
        try:
            return self._bare(subjects, value)
        except EventError:
            found = self._prefixed(subjects, value)
            if found is None:
                raise
            return found

    def read_quickly(self, subjects: Sequence[str], value: bytes) -> Decoded | None:
        """What `read` gives where no header names the schema and that of *subjects*' first is at hand; else None.

        Does not block. Raises DecodeError where it does not fit: another version may, of which `read` knows.
        """
        latest = self._registry.known(subjects[0])
        if latest is None:
            return None
        schema_id: int = latest.id
        subject: str | None = subjects[0]
        if value[:1] == b"\0":
            if self._stray_prefixes or len(value) < 5:
                return None
            schema_id, subject, value = int.from_bytes(value[1:5], "big"), self._local_subject(subjects), value[5:]
        schema = self._schemas.get((schema_id, subject))
        return None if schema is None else _decoded(schema, schema_id, value)

    def _by_confluent_header(self, header: bytes, subjects: Sequence[str], value: bytes) -> Decoded:
        if header[:1] == b"\0" and len(header) == 5:
            return self._by_id(int.from_bytes(header[1:], "big"), subjects, value)
        if header[:1] != b"\1" or len(header) != 17:
            raise DecodeError(f"the header {CONFLUENT_HEADER} is neither an id nor a GUID")
        guid = str(uuid.UUID(bytes=header[1:]))
        subject = self._local_subject(subjects)
        schema = self._schemas.get((guid, subject))
        if schema is None:
            schema = self._remember(guid, subject, self._registry.by_guid(guid))
        return _decoded(schema, 0, value)

    def _by_id(self, schema_id: int, subjects: Sequence[str], value: bytes) -> Decoded:
        subject = self._local_subject(subjects)
        schema = self._schemas.get((schema_id, subject))
        if schema is None:
            schema = self._remember(schema_id, subject, self._registry.by_id(schema_id))
        return _decoded(schema, schema_id, value)

    def _prefixed(self, subjects: Sequence[str], value: bytes) -> Decoded | None:
        """The value behind a prefix; None where its id is unknown or its schema does not fit."""
        key = subjects[0] if subjects else ""
        try:
            found = self._by_id(int.from_bytes(value[1:5], "big"), subjects, value[5:])
        except EventError:
            self._stray_prefixes[key] = self._stray_prefixes.get(key, 0) + 1
            return None
        self._stray_prefixes.pop(key, None)
        return found

    def _bare(self, subjects: Sequence[str], value: bytes) -> Decoded:
        missing = None
        for subject in subjects:
            try:
                latest = self._registry.latest(subject)
            except SchemaNotFound as error:
                missing = error
            else:
                return self._by_versions(subject, latest, value)
        raise missing or SchemaNotFound("nothing names the record's schema: no header, no prefix, no event name")

    def _by_versions(self, subject: str, latest: RegisteredSchema, value: bytes) -> Decoded:
        try:
            return _decoded(self._schema(latest, subject), latest.id, value)
        except DecodeError as error:
            misfit = error
        for number in self._older_than(latest, subject):
            try:
                older = self._registry.version(subject, number)
                found = _decoded(self._schema(older, subject), older.id, value)
            except EventError:
                continue
            self._fitted(subject, number)
            return found
        raise misfit

    def _older_than(self, latest: RegisteredSchema, subject: str) -> list[int]:
        """The versions before, newest first; but the one that fitted last before all others."""
        known = self._older.get(subject)
        if known is None or known[0] != latest.id:
            numbers = [number for number in self._registry.versions(subject) if number != latest.version]
            known = self._older[subject] = (latest.id, numbers[::-1])
        return known[1]

    def _fitted(self, subject: str, number: int) -> None:
        latest_id, older = self._older[subject]
        if older[0] != number:
            self._older[subject] = (latest_id, [number, *(other for other in older if other != number)])

    def _schema(self, registered: RegisteredSchema, subject: str) -> AvroSchema:
        schema = self._schemas.get((registered.id, subject))
        return schema if schema is not None else self._remember(registered.id, subject, registered)

    def _remember(self, key: int | str, subject: str | None, registered: RegisteredSchema) -> AvroSchema:
        reader = self._local.schema(subject) if self._local is not None and subject is not None else None
        named = self._registry.references_of(registered)
        try:
            schema = AvroSchema(registered.schema, reader=reader, named=named)
        except EventError as error:
            raise DecodeError(f"schema {key} of the registry: {error}") from error
        self._schemas[key, subject] = schema
        return schema

    def _local_subject(self, subjects: Sequence[str]) -> str | None:
        """The subject whose reader schema counts, where the bytes name their own writer's."""
        if self._local is None:
            return None
        return next((subject for subject in subjects if self._local.schema(subject) is not None), None)


def _decoded(schema: AvroSchema, schema_id: int, value: bytes) -> Decoded:
    payload, meta = schema.decode(value)
    return Decoded(payload, meta, schema_id, schema.name)


def _decimal(header: bytes) -> int:
    if not header.isdigit() or len(header) > _MAX_DECIMAL_DIGITS:
        raise DecodeError(f"the header {SCHEMA_ID_HEADER} is no decimal number")
    return int(header)
