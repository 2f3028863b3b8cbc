"""Payload to bytes: the latest schema of the subject, and what tells a reader which it was."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Final, Literal

from kaufmann_celery.errors import EncodeError, EventError
from kaufmann_celery.registry.client import SchemaRegistry
from kaufmann_celery.transcoders.avro import AvroSchema
from kaufmann_celery.transcoders.transcoder import Written

Framing = Literal["raw", "confluent"]

#: The writer schema's id, in decimal.
SCHEMA_ID_HEADER: Final = "kaufmann-schema-id"


class AvroWriter:
    """Encodes with schemas from the registry. Thread-safe; blocks on HTTP for what its cache lacks."""

    def __init__(self, registry: SchemaRegistry, *, framing: Framing = "raw") -> None:
        self._registry = registry
        self._framing = framing
        self._schemas: dict[int, AvroSchema] = {}

    def write(self, subject: str, payload: Any, meta: Mapping[str, Any]) -> Written:
        """The payload in the subject's latest schema, with those fields of meta that the schema has.

        Raises:
            SchemaNotFound: the registry has no such subject.
            EncodeError: the payload does not fit; the message names the field.
            UnavailableError: the registry does not answer, and never gave this subject's schema.
        """
        schema_id, schema = self._latest(subject)
        body = schema.encode(payload, meta)
        if self._framing == "confluent":
            return Written(struct.pack(">bI", 0, schema_id) + body, (), schema.carries_meta)
        return Written(body, ((SCHEMA_ID_HEADER, b"%d" % schema_id),), schema.carries_meta)

    def _latest(self, subject: str) -> tuple[int, AvroSchema]:
        registered = self._registry.latest(subject)
        schema = self._schemas.get(registered.id)
        if schema is None:
            named = self._registry.references_of(registered)
            try:
                schema = AvroSchema(registered.schema, named=named)
            except EventError as error:
                raise EncodeError(f"subject {subject}: {error}") from error
            self._schemas[registered.id] = schema
        return registered.id, schema
