"""The error event: what is published about an event that failed for good, and its dead letter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kaufmann_celery.config import Config
from kaufmann_celery.errors import EventError
from kaufmann_celery.event import Headers, Meta, Output, Payload, Position
from kaufmann_celery.handlers import ERROR_PREFIX
from kaufmann_celery.outputs.composing import Composer, message_id_of
from kaufmann_celery.outputs.metadata import Cause
from kaufmann_celery.outputs.outcome import Outcome, OutRecord
from kaufmann_celery.outputs.partitioning import by_key
from kaufmann_celery.tasks.envelope import event_id
from kaufmann_celery.transcoders.avro_events import AvroTranscoder
from kaufmann_celery.transcoders.headers import headers_of
from kaufmann_celery.transcoders.json_events import UncheckedJson
from kaufmann_celery.transcoders.json_text import encoder

#: Characters of the error's message that travel.
_MOST_MESSAGE = 1000
#: Bytes up to which an error event keeps the payload of what failed: below Kafka's default for a record.
_MOST_BYTES = 900_000
#: Bytes of the original key that travel.
_MOST_KEY = 4096
_json_of = encoder(str, allow_nan=True)
#: Error events take message ids of their own, apart from the outputs'.
_INDEX = -1


@dataclass(frozen=True, slots=True)
class FailedEvent:
    """An event that failed for good, as far as it is known."""

    name: str
    position: Position
    error_type: str
    error: str = field(repr=False)
    attempts: int
    timestamp_ms: int
    #: The record's key as Kafka has it.
    raw_key: bytes | None = field(default=None, repr=False)
    meta: Meta = field(default_factory=dict, repr=False)
    #: The payload, or the raw value where it could not be decoded; None drops it.
    payload: Payload = field(default=None, repr=False)
    #: The record's headers.
    headers: Headers = field(default=(), repr=False)


class ErrorEvents:
    """Composes error events. Blocks on the schema registry for what its cache does not hold."""

    def __init__(self, config: Config, composer: Composer, avro: AvroTranscoder | None) -> None:
        self._config = config
        self._composer = composer
        # What the service plugs in, or its schema for error events, may be the very thing that is wrong.
        self._composers = (composer, composer.plain(), composer.plain(UncheckedJson()))
        self._avro = avro

    def outcome(
        self, failed: FailedEvent, *, incarnation: str, now: datetime, further: tuple[OutRecord, ...] = ()
    ) -> Outcome:
        """Return the outcome of an event that failed: its error event, and *further*, what on_error emitted."""
        records = further + tuple(self.records(failed, incarnation=incarnation, now=now))
        return Outcome(records, failed.error_type, failed.error[:_MOST_MESSAGE], failed.attempts)

    def records(self, failed: FailedEvent, *, incarnation: str, now: datetime) -> list[OutRecord]:
        """Return the error event, to each of its topics. A failure about an error event causes none."""
        if failed.name.startswith(ERROR_PREFIX):
            return []
        message_id = message_id_of(incarnation, failed.position, _INDEX)
        most = min(_MOST_BYTES, self._config.max_event_bytes)
        for smaller in _smaller_and_smaller(failed):
            records = self._composed(smaller, message_id, now)
            if records and all(record.size <= most for record in records):
                break
        assert records, "an error event with neither payload nor meta is always composed as JSON"
        return records

    def _composed(self, failed: FailedEvent, message_id: str, now: datetime) -> list[OutRecord]:
        cause = Cause.known(failed.meta, event_id(failed.meta, failed.position), failed.headers)
        headers = failure_headers(failed, self._config.consumer_group) + self._composer.marked
        for composer in self._composers:
            with suppress(EventError):
                topics = self._topics(failed, composer)
                for output in self._outputs(failed, topics[0]):
                    with suppress(EventError):
                        return composer.unchecked(
                            output, topics, headers, message_id=message_id, now=now, cause=cause, kind="error"
                        )
        return []

    def _topics(self, failed: FailedEvent, composer: Composer) -> Sequence[str]:
        error_topic = self._config.error_topic
        return (error_topic,) if error_topic else composer.topics(Output(failed.name, failed.payload))

    def _outputs(self, failed: FailedEvent, topic: str) -> Iterator[Output]:
        """Yield what to try: as the schema asks, without what failed, and last as JSON."""
        name, whole = ERROR_PREFIX + failed.name, _facts(failed)
        if fields := {field: kind for field, kind in self._fields(name, topic).items() if field in whole}:
            tried = [{**whole, "message_payload": failed.payload}, whole, _bare(whole)]
            if takes_text(fields.get("message_payload")):
                del tried[0]  # to be refused costs more than all else
            for known in tried:
                yield Output(name, {key: known[key] for key in fields}, reply=True, format="avro")
        yield Output(name, whole, reply=True, format="json")
        yield Output(name, _bare(whole), reply=True, format="json")

    def _fields(self, name: str, topic: str) -> Mapping[str, Any]:
        """Return the payload's fields in the Avro schema of the error event, each with its type; none without one."""
        try:
            latest = self._avro and self._avro.latest(name, topic)
        except EventError:
            return {}
        return payload_fields(latest.schema) if latest else {}


def _smaller_and_smaller(failed: FailedEvent) -> Iterator[FailedEvent]:
    yield failed
    yield replace(failed, payload=None)
    yield replace(failed, payload=None, meta={})


def payload_fields(schema: Any) -> Mapping[str, Any]:
    """Return the fields of a schema's payload record, of its `payload` where it has an envelope, each with its type."""
    record = schema[-1] if isinstance(schema, list) and schema else schema
    fields = {one["name"]: one.get("type") for one in record.get("fields", ())} if isinstance(record, dict) else {}
    inner = fields.get("payload")
    if isinstance(inner, Mapping) and ("meta" in fields or "metadata" in fields):
        return {one["name"]: one.get("type") for one in inner.get("fields", ())}
    return {name: kind for name, kind in fields.items() if name not in ("meta", "metadata")}


def takes_text(kind: Any) -> bool:
    """Return whether a payload fits a field of this Avro type only as text; False where that is not certain."""
    plain = ("null", "string", {"type": "string", "avro.java.string": "String"}, {"type": "string"})
    return all(one in plain for one in (kind if isinstance(kind, list) else [kind]))


def failure_headers(failed: FailedEvent, group: str) -> Headers:
    """Return the headers that every error event and dead letter carries."""
    topic, partition, offset = failed.position
    return (
        ("kaufmann-original-topic", topic.encode()),
        ("kaufmann-original-partition", b"%d" % partition),
        ("kaufmann-original-offset", b"%d" % offset),
        ("kaufmann-original-timestamp", b"%d" % failed.timestamp_ms),
        ("kaufmann-group", group.encode()),
        ("kaufmann-error-type", failed.error_type.encode()),
        ("kaufmann-error-message", failed.error[:_MOST_MESSAGE].encode()),
        ("kaufmann-attempts", b"%d" % failed.attempts),
        ("kaufmann-original-key", (failed.raw_key or b"")[:_MOST_KEY]),
    )


def dead_letter(config: Config, record: Any, failed: FailedEvent, *, cut: bool = False) -> OutRecord | None:
    """Return the record as it was, for `dead_letter_topic`; None where that is not set.

    *cut*: only what is known of it, because its topic takes no record of that size.
    """
    if config.dead_letter_topic is None:
        return None
    facts = failure_headers(failed, config.consumer_group)
    return OutRecord(
        topic=config.dead_letter_topic,
        key=_key_of(record, cut=cut),
        value=None if cut else record.value,
        headers=facts if cut else headers_of(record) + facts,
        timestamp_ms=max(0, record.timestamp),
        spread=by_key(record.key or str(failed.position).encode()),
        kind="dead_letter",
    )


def _facts(failed: FailedEvent) -> dict[str, Any]:
    payload = failed.payload
    if isinstance(payload, bytes):
        payload = payload.decode("utf-8", "backslashreplace")
    text = payload if payload is None or isinstance(payload, str) else _json_of(payload)
    return {
        "error": failed.error[:_MOST_MESSAGE],
        "error_type": failed.error_type,
        "message_payload": text,
        "attempts": failed.attempts,
        "position": str(failed.position),
    }


def _bare(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {**whole, "message_payload": None}


def _key_of(record: Any, *, cut: bool) -> bytes | None:
    key: bytes | None = record.key
    if cut:
        return (key or b"")[:_MOST_KEY]
    # kafka-python sends no record that has neither key nor value.
    return b"" if key is None and record.value is None else key
