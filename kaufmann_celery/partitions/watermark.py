"""Finished in any order -> the offset that is safe to commit, and what is unfinished above it. Pure.

Offsets have gaps (compaction, transaction markers), so nothing here counts on `offset + 1` existing: the safe
offset is the lowest offset that was delivered and is not finished, else the consumer's position.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection

from kaufmann_celery.partitions.commit_metadata import Committed, room, worst_size


class Watermark:
    """The delivered and unfinished offsets of one partition, from its committed offset on.

    *held* is the commit that was found there: until the position has passed all that it holds as finished, every
    further commit says that too. Else a commit in the middle of reading it again would take it back.
    """

    def __init__(self, start: int, held: Committed | None = None) -> None:
        #: The consumer's position: everything below has been delivered, or does not exist.
        self.position = start
        # Insertion order is offset order, for offsets are delivered ascending; so the first key is the lowest.
        # A plain dict would search for it through all that were removed before it.
        self._unfinished: OrderedDict[int, None] = OrderedDict()
        self._highest_finished = start - 1
        self._held = held

    def deliver(self, offset: int) -> None:
        """Note that *offset* was delivered and is not finished. Offsets come ascending, each once."""
        if offset < self.position:
            raise AssertionError(f"offset {offset} delivered again below position {self.position}")
        self._unfinished[offset] = None
        self.position = offset + 1

    def advance(self, position: int) -> None:
        """Note that the consumer's position moved over offsets that do not exist, or are no events."""
        self.position = max(self.position, position)

    def finish(self, offset: int) -> bool:
        """Note that *offset* is finished; return False where it already was."""
        if offset not in self._unfinished:
            return False
        del self._unfinished[offset]
        self._highest_finished = max(self._highest_finished, offset)
        return True

    def is_unfinished(self, offset: int) -> bool:
        """Return whether *offset* was delivered and is not finished."""
        return offset in self._unfinished

    @property
    def safe_offset(self) -> int:
        """The offset to commit: everything below is finished or does not exist."""
        return next(iter(self._unfinished), self.position)

    @property
    def unfinished(self) -> int:
        """How many delivered events are not finished."""
        return len(self._unfinished)

    def is_within(self, offset: int, window: int) -> bool:
        """Return whether *offset* is less than *window* ahead of the lowest unfinished one, if any."""
        return offset - self.safe_offset < window or not self._unfinished

    def window(self) -> int:
        """How far the position runs ahead of the lowest unfinished offset."""
        return self.position - self.safe_offset

    def is_finished(self, offset: int) -> bool:
        """Return whether *offset* was passed and is not unfinished: it is finished, or does not exist."""
        return offset < self.position and offset not in self._unfinished

    def committed(self, incarnation: str, finishing: Collection[int] = ()) -> Committed:
        """Return what a commit at this moment says; *finishing*: were these delivered events finished too."""
        left = [offset for offset in self._all_unfinished() if offset not in finishing]
        safe = next((offset for offset in self._unfinished if offset not in finishing), self.position)
        highest = max([self._highest_finished, *finishing])
        if self._held is not None and self._held.highest >= self.position:
            highest = self._held.highest
        if highest < safe:
            return Committed(safe, safe - 1, (), incarnation)
        return Committed(safe, highest, tuple(offset for offset in left if offset < highest), incarnation)

    def metadata_size(self) -> int:
        """Return an upper bound in bytes of the metadata, whichever of the unfinished events finish first."""
        return worst_size(self._all_unfinished(), self.safe_offset)

    def room(self, window: int) -> int:
        """Return how many more events fit into the metadata, whichever finish first, *window* being kept to."""
        return room(self._all_unfinished, self.safe_offset, self._highest_unfinished(), window)

    def _highest_unfinished(self) -> int:
        """Return the last of `_all_unfinished`, the safe offset where there is none."""
        if self._held is not None and self._held.unfinished and self._held.unfinished[-1] >= self.position:
            return self._held.unfinished[-1]
        return next(reversed(self._unfinished), self.safe_offset)

    def _all_unfinished(self) -> list[int]:
        """Return the unfinished offsets, ascending, and those that the commit found names and that are not read yet."""
        if self._held is None:
            return list(self._unfinished)
        ahead = self._held.unfinished[bisect_left(self._held.unfinished, self.position) :]
        return [*self._unfinished, *ahead]
