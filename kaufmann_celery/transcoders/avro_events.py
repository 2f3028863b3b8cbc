"""The transcoder for Avro: an event's subject, its schema in the registry, and the bytes by that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from kaufmann_celery.config import Config
from kaufmann_celery.errors import DecodeError, EncodeError, EventError
from kaufmann_celery.registry.client import RegisteredSchema, SchemaNotFound, SchemaRegistry
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.transcoders.reading import CONFLUENT_HEADER, AvroReader
from kaufmann_celery.transcoders.subjects import Subjects
from kaufmann_celery.transcoders.transcoder import Decoded, Written
from kaufmann_celery.transcoders.writing import SCHEMA_ID_HEADER, AvroWriter, Framing


class AvroTranscoder:
    """Reads and writes with schemas from the registry. A subject's schema in *local* is its reader schema."""

    def __init__(self, config: Config, registry: SchemaRegistry, local: LocalSchemas | None = None) -> None:
        self._registry = registry
        self._subjects = Subjects(config)
        self._reader = AvroReader(registry, local)
        self._writer = AvroWriter(registry, framing=cast(Framing, config.framing))

    def claims(self, value: bytes, headers: Mapping[str, bytes]) -> bool:  # noqa: ARG002 - as the Transcoder has it
        """Return whether a header names its schema. Confluent's prefix says nothing: other formats may begin so."""
        return SCHEMA_ID_HEADER in headers or CONFLUENT_HEADER in headers

    def knows(self, name: str, topic: str) -> bool:
        """Return whether its subject is registered. Raises `DecodeError` where `subject_strategy` gives none."""
        for subject in self._subjects.of(name, topic, DecodeError):  # noqa: SIM110 - asked for each record; a generator costs as much as the answer
            if self._latest(subject) is not None:
                return True
        return False

    def read(self, name: str | None, topic: str, value: bytes, headers: Mapping[str, bytes]) -> Decoded:
        """Return what *value* says. Raises as the `Transcoder` does, and `SchemaNotFound`."""
        subjects = None if name is None else self._subjects.of(name, topic, DecodeError)
        return self._reader.read(subjects, value, headers)

    def read_quickly(self, name: str, topic: str, value: bytes) -> Decoded | None:
        """Return what `read` does of a record that nobody claims, where `knows` holds and nothing is to be asked; else
        None. Does not block. Raises `DecodeError`: `read` may know better.
        """
        return self._reader.read_quickly(self._subjects.of(name, topic, DecodeError), value)

    def write(self, name: str, topic: str, payload: Any, meta: Mapping[str, Any]) -> Written:
        """Return *payload* in the latest schema. Raises as the `Transcoder` does, and `SchemaNotFound`."""
        *others, last = self._subjects.of(name, topic, EncodeError)
        for subject in others:
            if self._registry.is_missing(subject):
                continue
            try:
                return self._writer.write(subject, payload, meta)
            except SchemaNotFound:
                continue
        return self._writer.write(last, payload, meta)

    def latest(self, name: str, topic: str) -> RegisteredSchema | None:
        """Return the latest schema of the event's subject, None without. Raises `EncodeError`, `UnavailableError`."""
        for subject in self._subjects.of(name, topic, EncodeError):
            # Asked for each error event, and mostly in vain where a service has no schema for them.
            if not self._registry.is_missing(subject) and (found := self._latest(subject)) is not None:
                return found
        return None

    def references_of(self, schema: RegisteredSchema) -> list[Any]:
        """Return the schemas that it refers to, dependencies first."""
        return self._registry.references_of(schema)

    def _latest(self, subject: str) -> RegisteredSchema | None:
        try:
            return self._registry.latest(subject)
        except EventError:
            return None
