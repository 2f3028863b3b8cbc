"""A decoded event on its way through Redis: one opaque text, and back to an `Event`. Pure.

Opaque, because kombu's own JSON decoder drops every message whose payload holds `__type__` and `__value__` keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from kaufmann_celery.errors import EventError
from kaufmann_celery.event import Event, Headers, Meta, Payload, Position
from kaufmann_celery.handlers import Handler
from kaufmann_celery.transcoders import payload_codec

_EPOCH = datetime.fromtimestamp(0, UTC)
#: Up to which a float of seconds has each millisecond: the year 2109.
_EXACT_MS = 2**42


@dataclass(slots=True)
class Decoded:
    """An event for its handler, or what is wrong with it (`error`). Never changed; freezing it costs a microsecond."""

    name: str
    #: None where the event failed before its handler was known.
    handler: Handler | None
    #: The envelope for the worker.
    text: str = field(repr=False)
    meta: Meta = field(default_factory=dict, repr=False)
    key: str | None = field(default=None, repr=False)
    error: EventError | None = None
    #: Events of one lane and partition run one after the other; None = at any time.
    lane: str | None = field(default=None, repr=False)

    def payload(self) -> Payload:
        """Return the payload, read back from the envelope."""
        return payload_of(self.text)


class Unpacked(NamedTuple):
    """What a worker is told of one event."""

    event: Event
    #: Type and message, where it never reached its handler.
    error: tuple[str, str] | None
    timestamp_ms: int
    #: The record's key as Kafka has it, where it is not what name and key make.
    other_key: Sequence[bytes | None]

    @property
    def raw_key(self) -> bytes | None:
        """Return the record's key as Kafka has it."""
        return self.other_key[0] if self.other_key else _usual_key(self.event.name, self.event.key)


def pack(
    name: str,
    *,
    key: str | None,
    raw_key: bytes | None,
    timestamp_ms: int,
    headers: Headers,
    meta: Meta,
    payload: Payload,
    error: list[str] | None = None,
) -> str:
    """Return the text that a worker unpacks. *error*: type and message of an event that never reached its handler."""
    parts: list[Any] = [name, key, timestamp_ms, headers, meta, payload, error]
    if raw_key != _usual_key(name, key):
        parts.append(raw_key)
    return payload_codec.dumps(parts)


def unpack(text: str, position: Position, attempt: int) -> Unpacked:
    """Return the event that `pack` was given."""
    name, key, timestamp_ms, headers, meta, payload, error, *other_key = payload_codec.loads(text)
    event = event_of(
        name, position, key=key, timestamp_ms=timestamp_ms, meta=meta, payload=payload, attempt=attempt,
        headers=tuple(map(tuple, headers)) if headers else (),
    )  # fmt: skip
    return Unpacked(event, (error[0], error[1]) if error else None, timestamp_ms, other_key)


def event_of(
    name: str, position: Position, *, key: str | None, timestamp_ms: int, headers: Headers, meta: Meta,
    payload: Payload, attempt: int = 1,
) -> Event:  # fmt: skip
    """Return the event as a handler sees it."""
    return Event(
        name=name,
        payload=payload,
        meta=meta,
        id=event_id(meta, position),
        topic=position.topic,
        partition=position.partition,
        offset=position.offset,
        key=key,
        timestamp=_moment(timestamp_ms),
        headers=headers,
        attempt=attempt,
    )


def _moment(timestamp_ms: int) -> datetime:
    """Return the moment; the nearest one that Python knows where a producer made it up."""
    if 0 <= timestamp_ms < _EXACT_MS:
        return datetime.fromtimestamp(timestamp_ms / 1000, UTC)
    try:
        return _EPOCH + timedelta(milliseconds=timestamp_ms)
    except OverflowError:
        return (datetime.max if timestamp_ms > 0 else datetime.min).replace(tzinfo=UTC)


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
    return payload_codec.dumps([*parts[:6], [error_type, error], *parts[7:]])


def _usual_key(name: str, key: str | None) -> bytes:
    return (name if key is None else f"{name}#{key}").encode()
