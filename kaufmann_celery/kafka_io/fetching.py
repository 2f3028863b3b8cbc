"""Reading from Kafka by kafka-python 3.0.12's consumer, and what it does not do well enough by itself."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

from kafka import TopicPartition

#: Milliseconds that Kafka waits for records while some come: what is read ahead of a partition lasts longer.
_SOON_MS = 20
#: Seconds for which they count as coming.
_COMING_S = 1.0


class Fetching:
    """Used by the consumer's thread alone."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._wait_ms: int = consumer.config["fetch_max_wait_ms"]
        self._came_at = -inf

    def choose(self, wanted: Iterable[tuple[TopicPartition, bool]]) -> bool:
        """Pause partitions whose records are not wanted, resume the others; return whether any is paused then."""
        paused = self._consumer.paused()
        for partition, is_wanted in wanted:
            if is_wanted == (partition in paused):
                (self._consumer.resume if is_wanted else self._consumer.pause)(partition)
        return bool(self._consumer.paused())

    def poll(self, timeout_s: float) -> Mapping[TopicPartition, list[Any]]:
        """Return what Kafka has; wait for something at most *timeout_s*."""
        self._mend()
        found: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=0)
        if not found and timeout_s:
            # Finds what the first does not: of a partition that was paused, while the one read last is paused.
            found = self._consumer.poll(timeout_ms=int(timeout_s * 1000))
        self._hurry(came=bool(found))
        return found

    def needs_poll(self) -> bool:
        """Return whether a poll would do more than read.

        It finds the coordinator and joins the group, for which it takes time; or calls back for answered commits.
        """
        coordinator = self._consumer._coordinator
        joins = coordinator.rejoin_needed or coordinator._join_task is not None
        return bool(coordinator.coordinator_id is None or joins or coordinator.completed_offset_commits)

    def position_of(self, partition: TopicPartition) -> int | None:
        """Return the offset that is read next, as far as the consumer knows; None where it does not, or has lost it.

        Its own `position()` may ask Kafka, and looks at every partition to answer for one.
        """
        state = self._consumer._subscription.assignment.get(partition)
        return None if state is None or state.position is None else int(state.position.offset)

    def _mend(self) -> None:
        """Make up for what keeps a consumer from ever reading on.

        Records parked for a paused partition come back only where this attribute is None, but a drained object is left
        there. And a join that a poll's time-out interrupts is not taken up again unless a rejoin is needed.
        """
        fetcher, coordinator = self._consumer._fetcher, self._consumer._coordinator
        if not fetcher._next_partition_records:
            fetcher._next_partition_records = None
        if coordinator._join_task is not None:
            coordinator.rejoin_needed = True

    def _hurry(self, *, came: bool) -> None:
        """Have Kafka answer a fetch soon while records come: as long as one waits there, no other is sent.

        One goes out for the partitions that have nothing new while the one that has is paused for a moment, and would
        hold that up. The fetcher looks for the wait here each time.
        """
        now = time.monotonic()
        if came:
            self._came_at = now
        is_coming = now - self._came_at < _COMING_S
        self._consumer._fetcher.config["fetch_max_wait_ms"] = (
            min(self._wait_ms, _SOON_MS) if is_coming else self._wait_ms
        )
