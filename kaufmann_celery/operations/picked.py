"""Single records picked out of a topic: an ingester reads these, and passes over all between them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from typing import Any

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.messages import Fetched
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.until_end import GoTo, UntilEnd

#: Offsets without a record that is wanted for which it pays to go elsewhere, instead of reading on.
_FAR = 1000

#: Told which offsets of a partition are finished, each once. May raise `UnavailableError`, then it is told again.
Finished = Callable[[TopicPartition, Collection[int]], None]


#: Offset -> the record's timestamp, by which it is told from another that stands there after a topic was made anew.
Picks = Mapping[TopicPartition, Mapping[int, int]]


class Picked(UntilEnd):
    """Records that are known by position and timestamp; *config* names the group that reads."""

    def __init__(self, config: Config, picks: Picks, *, finished: Finished) -> None:
        super().__init__(config, {where.topic for where in picks})
        self._picks = picks
        self._offsets = {where: sorted(offsets) for where, offsets in picks.items()}
        self._ends = {where: offsets[-1] + 1 for where, offsets in self._offsets.items()}
        self._finished = finished
        self._go_to: GoTo
        self._gone_to: dict[TopicPartition, int] = {}
        self._taken: dict[TopicPartition, set[int]] = {where: set() for where in picks}
        self._told: dict[TopicPartition, Committed] = {}
        #: Passed, and not there: retention or compaction removed them, or another record stands there now.
        self.gone: dict[TopicPartition, set[int]] = {where: set() for where in picks}
        #: All are finished, and told so.
        self.is_done = False

    def start(self, go_to: GoTo) -> None:
        """Note how to read on elsewhere."""
        self._go_to = go_to

    def wants(self, partition: TopicPartition, read_to: int) -> bool:
        """Return whether the last one is still ahead."""
        return read_to < self._ends.get(partition, 0)

    def cut(self, fetched: Fetched) -> Fetched:
        """Leave out what was not picked, and go on to the next that was."""
        where = fetched.partition
        if where not in self._picks:
            return Fetched(where, [], 0)
        records = [record for record in fetched.records if self._is_picked(where, record)]
        self._taken[where].update(record.offset for record in records)
        offsets = self._offsets[where]
        at = bisect_left(offsets, fetched.position)
        self.gone[where].update(set(offsets[:at]) - self._taken[where])
        if at == len(offsets):
            return Fetched(where, records, self._ends[where])
        if offsets[at] - fetched.position > _FAR and self._gone_to.get(where) != offsets[at]:
            self._gone_to[where] = offsets[at]
            self._go_to(where, offsets[at])
        return Fetched(where, records, offsets[at])

    def is_committed(self, owned: Mapping[TopicPartition, OwnedPartition]) -> bool:
        """Return whether all are finished, and that is known to whoever keeps it."""
        try:
            for where, one in owned.items():
                self._tell(where, one.committed)
        except UnavailableError:
            return False  # the loop says that it is away
        self.is_done = super().is_committed(owned)
        return self.is_done

    def _tell(self, where: TopicPartition, committed: Committed) -> None:
        if where in self._picks and self._told.get(where) != committed:
            done = {offset for offset in self._offsets[where] if committed.holds(offset)} - self.gone[where]
            self._finished(where, done)
            self._told[where] = committed

    def _is_picked(self, where: TopicPartition, record: Any) -> bool:
        return bool(self._picks[where].get(record.offset) == record.timestamp)
