"""Finished in any order -> the offset that is safe to commit, and what is unfinished above it. Pure.

Offsets have gaps (compaction, transaction markers), so nothing here counts on `offset + 1` existing: the safe
offset is the lowest offset that was delivered and is not finished, else the consumer's position.
"""

from __future__ import annotations

from kaufmann_celery.commit_metadata import Committed, worst_size


class Watermark:
    """The delivered and unfinished offsets of one partition, from its committed offset on."""

    def __init__(self, start: int) -> None:
        #: The consumer's position: everything below has been delivered, or does not exist.
        self.position = start
        # Insertion order is offset order, for offsets are delivered ascending; so the first key is the lowest.
        self._unfinished: dict[int, None] = {}
        self._highest_finished = start - 1

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

    def window(self) -> int:
        """How far the position runs ahead of the lowest unfinished offset."""
        return self.position - self.safe_offset

    def committed(self, incarnation: str) -> Committed:
        """Return what a commit at this moment says."""
        safe = self.safe_offset
        highest = self._highest_finished
        if highest < safe:
            return Committed(safe, safe - 1, (), incarnation)
        below = tuple(offset for offset in self._unfinished if offset < highest)
        return Committed(safe, highest, below, incarnation)

    def metadata_size(self) -> int:
        """Return an upper bound in bytes of the metadata, whichever of the unfinished events finish first."""
        return worst_size(list(self._unfinished), self.safe_offset)
