"""Records decoded before there is a slot for them: what else would the loop do while Redis answers?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Decodes
from kaufmann_celery.tasks.envelope import Decoded

#: Records decoded at a time, and kept decoded in all: about as long as Redis takes to answer, and little memory.
_AT_A_TIME, _MOST = 400, 1000


class DecodesAhead:
    """Decodes, or has decoded already. *most*: records, of all partitions."""

    def __init__(self, decoder: Decodes, most: int) -> None:
        self._decoder = decoder
        self._most = min(most, _MOST)
        self._is_away = False
        #: Where the registry did not answer, and why: who needs that record hears of it without another wait.
        self._stuck: tuple[OwnedPartition, int, UnavailableError] | None = None

    def decode(self, owned: OwnedPartition, record: Any) -> Decoded | None:
        """Return what the record is, as `Decodes` does."""
        while owned.decoded_ahead and owned.decoded_ahead[0][0] <= record.offset:
            offset, decoded = owned.decoded_ahead.popleft()
            if offset == record.offset:
                return decoded
        if self._stuck is not None and self._stuck[:2] == (owned, record.offset):
            error, self._stuck = self._stuck[2], None
            raise error
        self._is_away = True  # unless it decodes
        decoded = self._decoder.decode(record)
        self._is_away = False
        return decoded

    def go_on(self, partitions: Sequence[OwnedPartition]) -> None:
        """Decode some of what comes next. Where the registry is away, whoever needs the record hears of that."""
        left = min(_AT_A_TIME, self._most - sum(len(owned.decoded_ahead) for owned in partitions))
        for owned in partitions:
            if left <= 0 or self._is_away:
                return
            # While a predecessor's claims are looked for, records are taken in another order.
            if owned.fetched and not owned.adopted and not owned.held:
                left -= self._go_on(owned, left)

    def _go_on(self, owned: OwnedPartition, most: int) -> int:
        ahead = owned.decoded_ahead
        while ahead and ahead[0][0] < owned.fetched[0].offset:
            ahead.popleft()  # it turned out to be finished already
        before = len(ahead)
        try:
            for record in islice(owned.fetched, before, before + most):
                ahead.append((record.offset, self._decoder.decode(record)))
        except UnavailableError as error:
            self._is_away, self._stuck = True, (owned, record.offset, error)
        return len(ahead) - before
