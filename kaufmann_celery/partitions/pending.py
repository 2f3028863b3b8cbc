"""One event on its way: read from Kafka, decoded, and not finished."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from kaufmann_celery.event import Position
from kaufmann_celery.ledger import FIRST, Past
from kaufmann_celery.tasks.envelope import Decoded, event_id


class Decodes(Protocol):
    """What turns records into events: see decode.py."""

    def decode(self, record: Any) -> Decoded | None:
        """Return the event, None where no handler wants it. Raises `UnavailableError`."""


@dataclass(frozen=True, slots=True)
class GoneRecord:
    """A record that Kafka does not have any more."""

    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


@dataclass(slots=True, eq=False)
class Pending:
    """One event that was delivered and is not finished."""

    record: Any = field(repr=False)
    decoded: Decoded
    past: Past = FIRST
    #: When it was handed to Celery last (monotonic seconds), None = not yet; and its number among all sent.
    sent_at: float | None = None
    sent_number: int = 0
    copies: int = 0
    #: A worker runs it, when last seen.
    leased: bool = False
    #: It waits for its retry, and so holds no slot.
    waiting: bool = False
    #: It waits for the events before it in its lane.
    parked: bool = False
    #: Its outcome is in the ledger.
    reported: bool = False
    #: Why it failed, where no worker reports that.
    failure: Exception | None = field(default=None, repr=False)
    #: Its `on_error` was sent the failure.
    told: bool = False
    #: The record's.
    offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.offset = int(self.record.offset)

    @property
    def id(self) -> str:
        """Return the event's id, as its handler sees it."""
        record = self.record
        return event_id(self.decoded.meta, Position(record.topic, record.partition, self.offset))

    @property
    def goes_alone(self) -> bool:
        """Return whether it has a task of its own: it ran before, or it failed."""
        return self.past.d > 1 or self.failure is not None

    @property
    def is_fresh(self) -> bool:
        """Return whether it has yet to be handed to Celery for the first time, and may be at once."""
        under_way = self.sent_at is not None or self.leased or self.waiting or self.parked or self.reported
        return not under_way and not self.goes_alone

    def sent(self, now: float, number: int) -> None:
        """Note that it was handed to Celery, in the task with this *number*."""
        self.sent_at, self.sent_number = now, number
        self.copies += 1

    def unsent(self, number: int) -> bool:
        """Note that the task with this *number* may not have been sent; return whether it is to be sent again."""
        is_open = self.sent_number == number and self.sent_at is not None and not (self.leased or self.reported)
        if is_open:
            self.sent_at, self.copies = None, self.copies - 1
        return is_open
