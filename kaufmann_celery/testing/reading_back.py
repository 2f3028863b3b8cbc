"""Records that a service emitted, decoded again: what its readers get."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Final

from kaufmann_celery.decode import Decoder, Reads
from kaufmann_celery.event import Headers
from kaufmann_celery.handlers import every_event
from kaufmann_celery.testing.emissions import Emitted

_JSON: Final = ("content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class Record:
    """A record as Kafka's consumer gives it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: Headers
    #: Milliseconds since 1970.
    timestamp: int


class ReadingBack:
    """Decodes records of every name, by the decode step. Blocks on the schema registry for what its cache lacks."""

    def __init__(self, reader: Reads) -> None:
        # Nobody's service: nothing is passed over as its own output.
        self._decoder = Decoder(every_event(), reader, service="", max_event_bytes=sys.maxsize)

    def emitted(self, record: Record, partition: int | None) -> Emitted:
        """Return the event that *record* is, sent to *partition*. Raises `AssertionError` where it cannot be read."""
        read = self._decoder.decode(record)
        assert read is not None
        if read.error is not None:
            raise AssertionError(f"{read.name} was emitted, but cannot be read: {read.error}")
        return Emitted(read.name, read.payload(), read.meta, record.topic, partition, read.key, record.headers)


def is_json(headers: Headers) -> bool:
    """Return whether a record's value says that it is JSON."""
    return _JSON in headers
