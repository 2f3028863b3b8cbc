"""One Avro schema at work: bare Avro bytes to payload and meta, and back."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, Final

from fastavro import schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError

from kaufmann_celery.errors import DecodeError, EncodeError
from kaufmann_celery.transcoders.avro_check import Mismatch, check_of
from kaufmann_celery.transcoders.avro_choice import chooser_of
from kaufmann_celery.transcoders.avro_depth import MAX_DEPTH, is_recursive, scanner, varint
from kaufmann_celery.transcoders.avro_parse import ParsedSchema, parse
from kaufmann_celery.transcoders.envelope import envelope_of
from kaufmann_celery.transcoders.tagged_json import is_too_deep

#: What fastavro raises for bytes that are not of the schema. KeyError is a negative index, OverflowError a
#: date beyond year 9999, ValueError any other logical type or text that is not UTF-8.
_READ_FAULTS: Final = (
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    struct.error,
    SchemaResolutionError,
)
_WRITE_FAULTS: Final = (
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    struct.error,
)


class AvroSchema:
    """An Avro schema made ready to decode and encode; immutable, so any thread may use it.

    *schema* is parsed JSON, the writer's. *reader* is the schema that values are resolved into when they are
    decoded; None leaves them in the writer's. *named* are schemas that both refer to, dependencies first.

    Raises:
        EventError: a schema is not valid Avro.
    """

    def __init__(self, schema: Any, *, reader: Any | None = None, named: Iterable[Any] = ()) -> None:
        references = list(named)
        writer = parse(schema, references)
        self._writer = writer
        self._branches: list[Any] | None = writer.checked if isinstance(writer.checked, list) else None
        target = writer if reader is None else _other(writer, parse(reader, references))
        self._reader = None if target is writer else target
        self._scan = scanner(writer.schema, writer.named)
        self._recursive = is_recursive(writer.schema, writer.named)
        self._branch, event = _event_branch(writer)
        self._envelope = envelope_of(event, writer.named)
        self._read_envelope = envelope_of(_event_branch(target)[1], target.named)
        self._check = check_of(event, writer.named)
        self._choose = chooser_of(event, writer.named)
        self._event = event
        #: Whether a meta given to `encode` gets into the bytes.
        self.carries_meta: bool = self._envelope is not None
        #: The full name of the event's record; empty for a type without a name.
        self.name: str = str(event.get("name", "")) if isinstance(event, dict) else ""

    def decode(self, body: bytes) -> tuple[Any, dict[str, Any]]:
        """Payload and meta (empty where the schema has no place for it).

        Raises:
            DecodeError: the bytes are not of this schema, are too many, nest too deep, or cannot be resolved.
        """
        try:
            if self._scan is not None:
                self._scan(body)
            value = self._read(body)
            if self._reader is not None:
                value = schemaless_reader(BytesIO(body), self._writer.schema, self._reader.schema)
        except _READ_FAULTS as error:
            raise DecodeError(f"the value is not of schema {self.name}: {_why(error)}") from error
        return (value, {}) if self._read_envelope is None else self._read_envelope.split(value)

    def _read(self, body: bytes) -> Any:
        schema, stream = self._writer.checked, BytesIO(body)
        if self._branches is not None:
            index, start = varint(body, 0)
            if not 0 <= index < len(self._branches):
                raise DecodeError(f"the value is not of schema {self.name}: its union has no branch {index}")
            schema = self._branches[index]
            stream.seek(start)
        value = schemaless_reader(stream, schema, None)
        left = len(body) - stream.tell()
        if left:
            raise DecodeError(f"the value is not of schema {self.name}: {left} bytes are left over")
        return value

    def encode(self, payload: Any, meta: Mapping[str, Any]) -> bytes:
        """The bytes KaufmannEx would write. Fields left out take their default, else null where that fits.

        Raises:
            EncodeError: payload or meta does not fit; the message has the field's path, never its value.
        """
        if self._recursive and is_too_deep(payload, MAX_DEPTH - 1):
            raise EncodeError(f"payload: nests deeper than {MAX_DEPTH} levels")
        datum = payload if self._envelope is None else self._envelope.wrap(payload, meta)
        try:
            self._check(datum)
            stream = BytesIO()
            stream.write(self._branch)
            if self._choose is None:
                schemaless_writer(stream, self._event, datum, disable_tuple_notation=True)
            else:
                schemaless_writer(stream, self._event, self._choose(datum))
        except Mismatch as mismatch:
            raise EncodeError(self._located(mismatch)) from None
        except _WRITE_FAULTS as error:
            # Not chained: fastavro's messages show the value.
            reason = f"the value does not fit schema {self.name} ({type(error).__name__})"
            raise EncodeError(reason) from None
        return stream.getvalue()

    def _located(self, mismatch: Mismatch) -> str:
        if self._envelope is None:
            mismatch.path.append("payload")
        return str(mismatch)


def _other(writer: ParsedSchema, reader: ParsedSchema) -> ParsedSchema:
    """The reader's schema, or the writer's where resolving changes nothing: it takes three times as long."""
    return writer if reader.canonical == writer.canonical else reader


def _event_branch(parsed: ParsedSchema) -> tuple[bytes, Any]:
    """What comes before the event's record in its bytes, and its schema: KaufmannEx's union [meta, event]."""
    if isinstance(parsed.schema, list) and len(parsed.schema) < 64:
        for index, branch in enumerate(parsed.schema):
            if envelope_of(branch, parsed.named) is not None:
                return bytes([2 * index]), branch
    return b"", parsed.schema


def _why(error: BaseException) -> str:
    if isinstance(error, SchemaResolutionError):
        return "it cannot be read into the schema of schema_path"
    if isinstance(error, EOFError):
        return "it ends too early"
    if isinstance(error, LookupError):
        return "a union, enum or number is out of range"
    return f"a field is out of range ({type(error).__name__})"
