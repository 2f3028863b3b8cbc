"""What became of an event: the records to publish, already encoded. From worker to ingester through the ledger. Pure.

Everything is fixed where the outcome is made (message id, timestamp, key, bytes), so that publishing it twice
after a crash repeats the same bytes. A handled event that emits nothing has the empty outcome, `b""`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import fastavro

from kaufmann_celery.event import Headers
from kaufmann_celery.transcoders.headers import size_of

_RECORD = {
    "type": "record",
    "name": "Record",
    "fields": [
        {"name": "topic", "type": "string"},
        {"name": "partition", "type": ["null", "int"]},
        {"name": "spread", "type": "long"},
        {"name": "key", "type": ["null", "bytes"]},
        {"name": "value", "type": ["null", "bytes"]},
        {"name": "headers", "type": {"type": "array", "items": {
            "type": "record", "name": "Header",
            "fields": [{"name": "name", "type": "string"}, {"name": "value", "type": "bytes"}]}}},
        {"name": "timestamp_ms", "type": "long"},
        {"name": "kind", "type": "string"},
    ],
}  # fmt: skip

_SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Outcome",
        "fields": [
            {"name": "error_type", "type": "string"},
            {"name": "error", "type": "string"},
            {"name": "attempts", "type": "int"},
            {"name": "records", "type": {"type": "array", "items": _RECORD}},
        ],
    }
)


@dataclass(frozen=True, slots=True)
class OutRecord:
    """One record to publish."""

    topic: str
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers = field(default=(), repr=False)
    timestamp_ms: int = 0
    #: None: `spread` decides, modulo the topic's partitions.
    partition: int | None = None
    spread: int = 0
    #: `output`, `error` (may lose its payload to fit) or `dead_letter` (may lose its value to fit).
    kind: str = "output"

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        return len(self.key or b"") + len(self.value or b"") + size_of(self.headers)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one event. `error_type` is empty where its handler succeeded."""

    records: tuple[OutRecord, ...] = ()
    error_type: str = ""
    #: The error's message, at most 1,000 characters.
    error: str = field(default="", repr=False)
    attempts: int = 1

    @property
    def failed(self) -> bool:
        """Return whether the event ended as an error event."""
        return bool(self.error_type)

    def encode(self) -> bytes:
        """Return the outcome's bytes, empty where there is nothing to publish and nothing to say."""
        if not self.records and not self.failed:
            return b""
        out = BytesIO()
        fastavro.schemaless_writer(out, _SCHEMA, _as_dict(self))
        return out.getvalue()


HANDLED = Outcome()


def decode(data: bytes) -> Outcome:
    """Read an outcome back."""
    if not data:
        return HANDLED
    fields: Any = fastavro.schemaless_reader(BytesIO(data), _SCHEMA, None)
    records = tuple(_record(record) for record in fields["records"])
    return Outcome(records, fields["error_type"], fields["error"], fields["attempts"])


def _as_dict(outcome: Outcome) -> dict[str, Any]:
    return {
        "error_type": outcome.error_type,
        # A message may hold what UTF-8 cannot, such as a file name that was no text.
        "error": outcome.error.encode("utf-8", "backslashreplace").decode(),
        "attempts": outcome.attempts,
        "records": [
            {
                "topic": record.topic,
                "partition": record.partition,
                "spread": record.spread,
                "key": record.key,
                "value": record.value,
                "headers": [{"name": name, "value": value} for name, value in record.headers],
                "timestamp_ms": record.timestamp_ms,
                "kind": record.kind,
            }
            for record in outcome.records
        ],
    }


def _record(fields: dict[str, Any]) -> OutRecord:
    headers = tuple((header["name"], header["value"]) for header in fields.pop("headers"))
    return OutRecord(headers=headers, **fields)
