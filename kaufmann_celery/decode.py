"""Step 2, decode: a record to an event, on its way to a handler; or to what is wrong with it; or to nothing.

The name comes from the record key up to `#`, as in KaufmannEx, else from the `ce_type` header, else from
`meta.message_name`, else from the writer's schema. A name that no handler wants is skipped before decoding.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from kaufmann_celery.errors import DecodeError, EventError, EventTooLarge
from kaufmann_celery.event import Headers, Meta, Payload, Position
from kaufmann_celery.handlers import Handler, Handlers
from kaufmann_celery.middleware import Hooks
from kaufmann_celery.ordering import Ordering
from kaufmann_celery.tasks import envelope
from kaufmann_celery.tasks.envelope import Decoded
from kaufmann_celery.transcoders import headers as headers_of_ours
from kaufmann_celery.transcoders import tagged_json
from kaufmann_celery.transcoders.avro_depth import MAX_DEPTH
from kaufmann_celery.transcoders.transcoder import Decoded as Read

UNKNOWN = "unknown"

#: Bytes of an event's name: it goes into the registry's URLs, into topics and into logs.
_LONGEST_NAME = 500
#: These would lead a registry's URL elsewhere.
_NO_NAMES = frozenset({".", ".."})


class Reads(Protocol):
    """What turns a record's value into a payload: see transcoders/configured.py."""

    def read(self, name: str | None, topic: str, value: bytes, headers: Mapping[str, bytes]) -> Read:
        """Return payload and meta; raise `DecodeError` and its like, or `UnavailableError`."""


class Decoder:
    """Reads records. Blocks on the schema registry for what its cache does not hold."""

    def __init__(
        self,
        handlers: Handlers,
        reader: Reads,
        *,
        service: str,
        max_event_bytes: int,
        ordering: Ordering | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        self._hooks = hooks or None
        self._ordering = ordering if ordering is not None and ordering.has_lanes else None
        self._handlers = handlers
        #: By names that came and may be names: handlers of just these, no globs.
        self._by_own_name: dict[str, Handler] = {}
        self._reader = reader
        self._service = service.encode()
        self._max_bytes = max_event_bytes

    def decode(self, record: Any) -> Decoded | None:
        """Return the event, None where no handler wants it. What is wrong with it is in `Decoded.error`.

        Raises `UnavailableError` where the registry is away: nothing is wrong with the event then.
        """
        if self._hooks is None:
            return self._decode(record)
        return self._hooks.around(record, partial(self._decode, record))

    def _decode(self, record: Any) -> Decoded | None:
        headers = headers_of_ours.headers_of(record)
        name: str | None = None
        key: str | None = None
        try:
            name, key = self._name(record, headers)
            handler = None if name is None else self._judged(name, headers)
            if name is not None and handler is None:
                return None
            return self._read(record, headers, name, key, handler)
        except EventError as error:
            return self._failed(record, headers, name, key, error)

    def _read(
        self, record: Any, headers: Headers, name: str | None, key: str | None, handler: Handler | None
    ) -> Decoded | None:
        if record.value is None:
            raise DecodeError("the record has no value (a tombstone)")
        size = len(record.value) + len(record.key or b"") + headers_of_ours.size_of(headers)
        if size > self._max_bytes:
            raise EventTooLarge(f"the record has {size} bytes, more than max_event_bytes")
        by_name = dict(headers)
        read = self._reader.read(name, record.topic, record.value, by_name)
        meta = read.meta or _meta_header(by_name)
        if name is None:
            name = str(meta.get("message_name") or read.schema_name)
            if not name:
                raise DecodeError("nothing names the event: no record key, no ce_type header, no meta, no schema")
            handler = self._judged(name, headers)
            if handler is None:
                return None
        return self._decoded(record, headers, name, key, meta, read.payload, handler)

    def _decoded(
        self, record: Any, headers: Headers, name: str, key: str | None, meta: Meta, payload: Payload,
        handler: Handler | None, error: EventError | None = None,
    ) -> Decoded:  # fmt: skip
        said = [type(error).__name__, str(error)] if error else None
        text = envelope.pack(
            name,
            key=key,
            raw_key=record.key,
            timestamp_ms=record.timestamp,
            headers=headers,
            meta=meta,
            payload=payload,
            error=said,
        )
        lane = None
        if self._ordering is not None:
            event = None if error else lambda: envelope.event_of(
                name, Position(record.topic, record.partition, record.offset), key=key,
                timestamp_ms=record.timestamp, headers=headers, meta=meta, payload=payload,
            )  # fmt: skip
            lane = self._ordering.lane(handler, key, event)
        return Decoded(name, handler, text, meta, key, error, lane)

    def _failed(self, record: Any, headers: Headers, name: str | None, key: str | None, error: EventError) -> Decoded:
        raw = record.value if record.value is not None and len(record.value) <= self._max_bytes else None
        known = name if name and _is_name(name) else UNKNOWN
        handler = self._wanted(known, headers)
        try:
            meta = _meta_header(dict(headers))
            return self._decoded(record, headers, known, key, meta, raw, handler, error)
        except EventError:
            # The header itself is what is wrong, or nests too deep to travel.
            return self._decoded(record, headers, known, key, {}, raw, handler, error)

    def _judged(self, name: str, headers: Headers) -> Handler | None:
        """Return the handler that wants an event of *name*; raise `DecodeError` where that can be no name."""
        if (handler := self._by_own_name.get(name)) is not None:
            return handler
        if _is_name(name):
            handler = self._wanted(name, headers)
            if handler is not None and not handler.is_glob:
                self._by_own_name[name] = handler
            return handler
        # Not remembered as a whole: it may have a megabyte.
        if self._wanted(name[:_LONGEST_NAME], headers) is None:
            return None
        raise DecodeError(f"the event's name is . or .. or has more than {_LONGEST_NAME} bytes")

    def _wanted(self, name: str, headers: Headers) -> Handler | None:
        handler = self._handlers.match(name)
        if handler is not None and (headers_of_ours.EMITTER, self._service) in headers and handler.is_glob:
            return None
        return handler

    def _name(self, record: Any, headers: Headers) -> tuple[str | None, str | None]:
        """Return the event's name and key."""
        ce_type = dict(headers).get("ce_type") if headers else None
        if record.key is None:
            return (_text(ce_type, "ce_type header") if ce_type else None), None
        if ce_type is None:
            name, _, key = _text(record.key, "record key").partition("#")
            return name or None, key or None
        whole = record.key.decode("utf-8", "replace")
        name, _, key = whole.partition("#")
        if is_named_by_key(self._handlers, name, ce_type):
            return name, key or None
        return _text(ce_type, "ce_type header"), whole or None


def is_named_by_key(handlers: Handlers, name: str, ce_type: bytes) -> bool:
    """Return whether *name*, of the record key, is the event's, though there is a `ce_type`: a key may be any text."""
    by_key, by_type = handlers.match(name), handlers.match(ce_type.decode("utf-8", "replace"))
    if not name or by_key is None:
        return False
    # A glob takes any text for a name, and catches what no exact name does.
    return not by_key.is_glob or by_type is None or by_type.is_glob


def _is_name(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and len(name.encode()) <= _LONGEST_NAME and name not in _NO_NAMES


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"the {what} is not UTF-8") from error


def _meta_header(headers: Mapping[str, bytes]) -> Meta:
    text = headers.get(headers_of_ours.META)
    if text is None:
        return {}
    try:
        meta = tagged_json.loads(text.decode())
        # JSON can spell half a surrogate pair, which no name or topic can hold.
        json.dumps(meta, ensure_ascii=False, default=str).encode()
    except (UnicodeError, RecursionError) as error:
        raise DecodeError(f"the {headers_of_ours.META} header is not JSON") from error
    if tagged_json.is_too_deep(meta, MAX_DEPTH):
        raise DecodeError(f"the {headers_of_ours.META} header nests deeper than {MAX_DEPTH} levels")
    if not isinstance(meta, Mapping):
        raise DecodeError(f"the {headers_of_ours.META} header is not a JSON object")
    return dict(meta)
