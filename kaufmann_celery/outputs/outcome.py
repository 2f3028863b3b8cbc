"""What became of an event: the records to publish, already encoded. From worker to ingester through the ledger. Pure.

Everything is fixed where the outcome is made (message id, timestamp, key, bytes), so that publishing it twice
after a crash repeats the same bytes. A handled event that emits nothing has the empty outcome, `b""`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import ormsgpack

from kaufmann_celery.event import Headers
from kaufmann_celery.transcoders.headers import size_of


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
        # A message may hold what UTF-8 cannot, such as a file name that was no text.
        error = self.error.encode("utf-8", "backslashreplace").decode()
        return ormsgpack.packb([[_fields(one) for one in self.records], self.error_type, error, self.attempts])


HANDLED = Outcome()


def decode(data: bytes) -> Outcome:
    """Read an outcome back."""
    if not data:
        return HANDLED
    records, *said = ormsgpack.unpackb(data)
    return Outcome(tuple(map(_record, records)), *said)


def _fields(one: OutRecord) -> tuple[object, ...]:
    return (one.topic, one.key, one.value, one.headers, one.timestamp_ms, one.partition, one.spread, one.kind)


def _record(fields: list[Any]) -> OutRecord:
    topic, key, value, headers, *others = fields
    return OutRecord(topic, key, value, tuple(map(tuple, headers)), *others)
