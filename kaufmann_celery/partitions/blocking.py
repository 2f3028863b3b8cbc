"""Says in the log which event holds its partition back: nothing new is taken, or `--until-end` waits for it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from kafka import TopicPartition

from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending

log = logging.getLogger(__name__)

#: Seconds for which the same event must have held its partition back, and those until it is said again, doubled
#: each time.
_PATIENCE_S = 5.0
_AGAIN_S = 60.0


@dataclass(slots=True)
class _Block:
    offset: int
    say_at: float
    pause_s: float = _AGAIN_S


class Blocking:
    """Looks at partitions now and then. Used by the ingester's loop alone."""

    def __init__(self, max_window: int) -> None:
        self._max_window = max_window
        self._blocks: dict[TopicPartition, _Block] = {}

    def look(self, owned: OwnedPartition, now: float, *, end: int | None = None) -> None:
        """Say which event holds *owned* back, where one does for a while. *end*: an offset that is waited for."""
        offset, is_full = owned.watermark.safe_offset, self._is_full(owned)
        if not is_full and (end is None or offset >= end):
            self._blocks.pop(owned.partition, None)
            return
        block = self._blocks.get(owned.partition)
        if block is None or block.offset != offset:
            self._blocks[owned.partition] = _Block(offset, now + _PATIENCE_S)
        elif now >= block.say_at:
            say(
                owned, f"nothing new is taken, for max_window ({self._max_window}) is reached" if is_full else "waiting"
            )
            block.say_at, block.pause_s = now + block.pause_s, 2 * block.pause_s

    def _is_full(self, owned: OwnedPartition) -> bool:
        head = next(iter(owned.held or owned.fetched), None)
        return head is not None and (
            not owned.watermark.is_within(head.offset, self._max_window) or owned.watermark.room(self._max_window) <= 0
        )


def say(owned: OwnedPartition, consequence: str) -> None:
    """Log which event is the lowest unfinished one of *owned*, and what comes of that."""
    offset = owned.watermark.safe_offset
    pending = owned.pending.get(offset)
    name = pending.decoded.name if pending else "a record"
    log.warning(
        "%s at %s holds back its partition (%s): %s",
        name,
        owned.position_of(offset),
        _state(pending) if pending else "not taken yet",
        consequence,
        extra={
            "action": "blocked", "event": name, "topic": owned.partition.topic,
            "partition": owned.partition.partition, "offset": offset,
        },
    )  # fmt: skip


def _state(pending: Pending) -> str:
    """Return what the event waits for, and how old its record is."""
    state = "sent to the workers"
    if pending.reported:
        state = "handled, and its outputs not published yet"
    elif pending.leased:
        state = "a worker runs it"
    elif pending.waiting:
        state = "waits for its retry"
    written_ms = pending.record.timestamp
    return f"{state}, {max(0.0, time.time() - written_ms / 1000):.0f} s old" if written_ms else state
