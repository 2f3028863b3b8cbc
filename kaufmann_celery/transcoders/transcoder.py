"""What a transcoder is: bytes to payload and back, in one format. Avro and JSON are built in, others plugged in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from kaufmann_celery.event import Headers


@dataclass(slots=True)
class Decoded:
    """A value read. Never changed; freezing it costs half a microsecond for each event."""

    payload: Any = field(repr=False)
    #: Empty where the value has no place for it.
    meta: dict[str, Any] = field(default_factory=dict, repr=False)
    #: The Avro writer schema's id; 0 where there is none, or a GUID named it and the registry did not say.
    schema_id: int = 0
    #: The event's name where nothing else says it, such as the full name of its Avro record; empty without.
    schema_name: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """An event's value, ready for Kafka."""

    value: bytes = field(repr=False)
    #: To go with the record.
    headers: Headers = ()
    #: Whether meta is in the value; if not, it has to travel in a header.
    carries_meta: bool = False


class Transcoder(Protocol):
    """One format. Used by any thread; each process makes its own. *topic* is where the record stands or will stand.

    Whatever else it raises counts as `DecodeError` or `EncodeError`: what is wrong with the event.
    """

    def claims(self, value: bytes, headers: Mapping[str, bytes]) -> bool:
        """Return whether the record itself says that it is of this format: no other is then tried."""

    def knows(self, name: str, topic: str) -> bool:
        """Return whether there is a schema for events of *name*: the others are tried only where this one cannot read.

        May block; raises `UnavailableError` where that cannot be told now.
        """

    def read(self, name: str | None, topic: str, value: bytes, headers: Mapping[str, bytes]) -> Decoded | None:
        """Return what *value* says; None where it is not of this format. *name* is None where only *value* has it.

        May block; raises `DecodeError`, and `UnavailableError` where that cannot be told now.
        """

    def write(self, name: str, topic: str, payload: Any, meta: Mapping[str, Any]) -> Written:
        """Return *payload* in this format. May block; raises `EncodeError`, and `UnavailableError` as above."""
