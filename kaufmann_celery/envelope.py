"""A decoded event on its way through Redis: one opaque JSON string, and back to an `Event`. Pure.

Opaque, because kombu's own JSON decoder drops every message whose payload holds `__type__` and `__value__` keys.
Header values travel as Latin-1 text, which maps each byte to the character of its number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from kaufmann_celery import payload_codec
from kaufmann_celery.errors import EventError
from kaufmann_celery.event import Event, Headers, Meta, Payload, Position
from kaufmann_celery.handlers import Handler


@dataclass(frozen=True, slots=True)
class Decoded:
    """An event for its handler, or what is wrong with it (`error`)."""

    name: str
    #: None where the event failed before its handler was known.
    handler: Handler | None
    #: The envelope for the worker.
    text: str = field(repr=False)
    id: str
    meta: Meta = field(default_factory=dict, repr=False)
    key: str | None = field(default=None, repr=False)
    error: EventError | None = None

    def payload(self) -> Payload:
        """Return the payload, read back from the envelope."""
        return payload_of(self.text)


def pack(
    name: str,
    *,
    key: str | None,
    timestamp_ms: int,
    headers: Headers,
    meta: Meta,
    payload: Payload,
    error: list[str] | None = None,
) -> str:
    """Return the text that a worker unpacks. *error*: type and message of an event that never reached its handler."""
    texts = [[header, value.decode("latin-1")] for header, value in headers]
    return payload_codec.dumps([name, key, timestamp_ms, texts, meta, payload, error])


def unpack(text: str, position: Position, attempt: int) -> tuple[Event, tuple[str, str] | None]:
    """Return the event, and the error's type and message where it never reached its handler."""
    name, key, timestamp_ms, headers, meta, payload, error = payload_codec.loads(text)
    event = Event(
        name=name,
        payload=payload,
        meta=meta,
        id=event_id(meta, position),
        topic=position.topic,
        partition=position.partition,
        offset=position.offset,
        key=key,
        timestamp=datetime.fromtimestamp(timestamp_ms / 1000, UTC),
        headers=tuple((header, value.encode("latin-1")) for header, value in headers),
        attempt=attempt,
    )
    return event, (error[0], error[1]) if error else None


def event_id(meta: Meta, position: Position) -> str:
    """Return the event's `message_id`, else its position."""
    message_id: Any = meta.get("message_id")
    return str(message_id) if message_id else str(position)


def payload_of(text: str) -> Payload:
    """Return the payload that *text* carries."""
    return payload_codec.loads(text)[5]


def with_error(text: str, error_type: str, error: str) -> str:
    """Return the envelope of an event that failed before, or outside, its handler."""
    parts = payload_codec.loads(text)
    return payload_codec.dumps([*parts[:6], [error_type, error]])
