"""The values that travel: what a handler is given and what it gives back. Frozen, and without I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

#: What an Avro schema describes, in Python's own types (Decimal, date, time, datetime, UUID, bytes).
Payload = Any
#: KaufmannEx's `meta`: message_id, emitter_service, callback_id, message_name, timestamp, callback_topic …
Meta = dict[str, Any]
#: Kafka record headers, in their order; a name may stand more than once.
Headers = tuple[tuple[str, bytes], ...]


class Position(NamedTuple):
    """Where a record stands in Kafka."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}:{self.partition}:{self.offset}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One decoded event, as a handler sees it. Its repr names it and never shows the payload."""

    #: The event's name, `order.placed`.
    name: str
    #: The value, or its `payload` field where the schema has an envelope.
    payload: Payload = field(repr=False)
    #: The envelope's meta, else that of the header `kaufmann-meta`; empty where the record carries none.
    meta: Meta = field(default_factory=dict, repr=False)
    #: `meta["message_id"]`, else the position as `topic:partition:offset`.
    id: str
    #: The record's topic.
    topic: str
    #: The record's partition.
    partition: int
    #: The record's offset there; `event.position` is all three.
    offset: int
    #: What follows `#` in the record key (the whole key where the name came from `ce_type`); None without.
    key: str | None = field(default=None, repr=False)
    #: Kafka's timestamp of the record, aware, UTC.
    timestamp: datetime
    #: The record's headers, pairs of name and bytes, in their order.
    headers: Headers = field(default=(), repr=False)
    #: Which run of this event it is: 1 for the first.
    attempt: int = 1

    @property
    def position(self) -> Position:
        """Where the record stands in Kafka."""
        return Position(self.topic, self.partition, self.offset)


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorEvent:
    """An event that has failed for good, or that could not be decoded; as KaufmannEx hands it over."""

    #: The name of the event that failed; `unknown` where it could not be told.
    name: str
    #: What went wrong, in one line.
    error: str = field(repr=False)
    #: The payload of the event that failed; the raw value (bytes) where it could not be decoded.
    message_payload: Payload = field(default=None, repr=False)
    #: The meta of the event that failed.
    meta: Meta = field(default_factory=dict, repr=False)
    #: The class of the exception, `ValueError`.
    error_type: str = ""
    #: Where the record stands in Kafka.
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """One event that a handler wants published, where a plain `(name, payload)` does not say enough."""

    #: The event's name; its schema is found by it.
    name: str
    #: The value, or its `payload` field where the schema has an envelope.
    payload: Payload = field(repr=False)
    #: Topic, or several; None means the usual one (`topic_strategy`).
    topic: str | Sequence[str] | None = None
    #: Partition; None means `partition_strategy` decides.
    partition: int | None = None
    #: Goes into the record key after `#`; None means the record key is the name alone.
    key: str | None = field(default=None, repr=False)
    #: True: also to the callback topic and partition that the consumed event names.
    reply: bool = False
    #: `topic` or `topic:partition`, where readers of this output should send their replies.
    reply_to: str | None = None
    #: `avro`, `json` or another of `transcoders`; None means the schema decides.
    format: str | None = None
    #: Merged over the meta that the library fills in.
    meta: Mapping[str, Any] | None = field(default=None, repr=False)
    #: Further record headers.
    headers: Mapping[str, bytes | str] | Sequence[tuple[str, bytes]] | None = field(default=None, repr=False)
