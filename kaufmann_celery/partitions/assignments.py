"""Which partitions the consumer has, which of them are news to the ingester's loop, and how far each was read. Pure.

Assignments are numbered: a request of the loop is for those that it had heard of when it made it.
"""

from __future__ import annotations

from collections.abc import Iterable

from kafka import TopicPartition


class Assignments:
    """Kept by the consumer's thread; kafka-python's own changes it while that one waits in a poll."""

    def __init__(self) -> None:
        #: The number of the latest assignment.
        self.latest = 0
        self._numbers: dict[TopicPartition, int] = {}
        #: Partitions that the loop is yet to be told of.
        self.fresh: set[TopicPartition] = set()
        #: Of partitions being read, the position after what was handed over.
        self.read_to: dict[TopicPartition, int] = {}

    def __contains__(self, partition: TopicPartition) -> bool:
        """Return whether *partition* is owned."""
        return partition in self._numbers

    def owned(self) -> frozenset[TopicPartition]:
        """Return all partitions owned."""
        return frozenset(self._numbers)

    def reading(self) -> list[tuple[TopicPartition, int]]:
        """Return the partitions being read, each with the position after what was handed over."""
        return [(partition, at) for partition, at in tuple(self.read_to.items()) if partition in self._numbers]

    def note(self, partition: TopicPartition) -> None:
        """Note that *partition* is assigned, or to be taken over as if it were."""
        self.latest += 1
        self._numbers[partition] = self.latest
        self.fresh.add(partition)
        self.read_to.pop(partition, None)

    def let_go(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget *partitions*."""
        for partition in partitions:
            self.fresh.discard(partition)
            self._numbers.pop(partition, None)
            self.read_to.pop(partition, None)

    def is_meant(self, partition: TopicPartition, number: int) -> bool:
        """Return whether a request made at *number* is for the present assignment of *partition*, not one before it."""
        return number >= self._numbers.get(partition, number + 1)
