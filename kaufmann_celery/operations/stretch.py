"""A stretch of each partition: an ingester reads up to its end, and not a record further."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.partitions.messages import Fetched
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.until_end import GoTo, UntilEnd

#: Takes how many offsets are finished.
Tell = Callable[[int], None]


class Stretch(UntilEnd):
    """Ends that are known before; *config* names the group that reads. Its beginnings are the group's commits.

    *tell* is called in each turn of the loop with the offsets finished since *begins*.
    """

    def __init__(
        self, config: Config, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int], *, tell: Tell
    ) -> None:
        super().__init__(config, {where.topic for where in ends})
        self._ends = dict(ends)
        self._begins = begins
        self._reached = dict(begins)
        self._tell = tell

    def start(self, go_to: GoTo) -> None:
        """Nothing: the ends stay where they were, whatever is written meanwhile."""

    def wants(self, partition: TopicPartition, read_to: int) -> bool:
        """Return whether *read_to* is before the end."""
        return read_to < self._ends.get(partition, 0)

    def cut(self, fetched: Fetched) -> Fetched:
        """Leave out what is at the end or behind it."""
        end = self._ends.get(fetched.partition, 0)
        if fetched.position <= end:
            return fetched
        records = [record for record in fetched.records if record.offset < end]
        return Fetched(fetched.partition, records, end)

    def is_committed(self, owned: Mapping[TopicPartition, OwnedPartition]) -> bool:
        """Return whether the group's commits have reached every end; tell how far all is finished."""
        for where, one in owned.items():
            if where in self._ends:
                self._reached[where] = min(max(one.watermark.safe_offset, self._reached[where]), self._ends[where])
        self._tell(sum(self._reached[where] - begin for where, begin in self._begins.items()))
        return super().is_committed(owned)
