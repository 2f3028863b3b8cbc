"""What is ready, split into tasks: events of one partition and one handler, in order where lanes ask for it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from kaufmann_celery.handlers import Handler
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending
from kaufmann_celery.tasks import envelope
from kaufmann_celery.tasks.celery_out import SHOWN, TaskMessage
from kaufmann_celery.tasks.given import Given


@dataclass(slots=True)
class Part:
    """Events of one partition that go into one task."""

    owned: OwnedPartition
    handler: Handler
    events: list[Pending] = field(default_factory=list)
    #: Among all tasks sent; 0 = not yet.
    number: int = 0

    def message(self) -> TaskMessage:
        """Return the task."""
        ledger = self.owned.ledger
        topic, partition = self.owned.partition
        # Lanes travel as numbers: their names may be secrets.
        lanes: dict[str | None, int | None] = {None: None}
        events = [Given.of(one.offset, one.past, lanes.setdefault(one.decoded.lane, len(lanes))) for one in self.events]
        texts = list(map(_text, self.events))
        shown = [f"{one.decoded.name} {one.id}" for one in self.events[:SHOWN]]
        return TaskMessage(
            self.handler, ledger.base, ledger.incarnation, ledger.tag, topic, partition, events, texts, shown
        )


def parts_of(owned: OwnedPartition, size_of: Callable[[Handler], int]) -> Iterator[Part]:
    """Split what is ready; what *size_of* has no size for yet stays ready.

    One that ran before goes alone, so that its death is its own.
    """
    for handler, group in _by_handler(owned.take_ready()):
        for pending in group:
            if pending.goes_alone and owned.lanes.admits(pending):
                yield Part(owned, handler, [pending])
        fresh = deque(pending for pending in group if not pending.goes_alone)
        while fresh:
            size = size_of(handler)
            if size == 0:
                owned.ready.extend(fresh)
                break
            events = _in_order(owned, fresh, size)
            if events:
                yield Part(owned, handler, events)


def _in_order(owned: OwnedPartition, fresh: deque[Pending], size: int) -> list[Pending]:
    """Take up to *size* events for one task; those that have to wait for others in their lanes are parked."""
    events: list[Pending] = []
    taken: Counter[str] = Counter()
    while fresh and len(events) < size:
        pending = fresh.popleft()
        lane = pending.decoded.lane
        if lane is None:
            events.append(pending)
        elif owned.lanes.admits(pending, taken):
            events.append(pending)
            taken[lane] += 1
    return events


def _by_handler(ready: Iterable[Pending]) -> Iterable[tuple[Handler, list[Pending]]]:
    groups: dict[str, tuple[Handler, list[Pending]]] = {}
    for pending in ready:
        handler = pending.decoded.handler
        assert handler is not None, "an event without a handler is concluded, never dispatched"
        groups.setdefault(handler.pattern, (handler, []))[1].append(pending)
    return groups.values()


def _text(pending: Pending) -> str:
    if pending.failure is None or pending.failure is pending.decoded.error:
        return pending.decoded.text
    return envelope.with_error(pending.decoded.text, type(pending.failure).__name__, str(pending.failure))
