"""Between dispatch and settle: ask the ledgers what workers did, where one reported or it is time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from kaufmann_celery.dispatch import Dispatcher
from kaufmann_celery.ledger import Turn, forgets, turns
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.ownership import Ownership
from kaufmann_celery.settle import Settler

#: Seconds between looks at every partition, whatever the workers say.
_SWEEP_S = 0.5


class Look:
    """Looks at the ledgers of the partitions owned. Used by the ingester's loop alone."""

    def __init__(
        self, partitions: Ownership, dispatcher: Dispatcher, settler: Settler, *, lease_s: float,
        nudge: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._partitions = partitions
        self._dispatcher = dispatcher
        self._settler = settler
        self._lease_s = lease_s
        self._nudge = nudge
        self._woken: set[str] = set()
        self._swept_at = 0.0
        # A lease whose holder could not renew it, because Redis was away, is not expired.
        self._no_expiry_until = time.monotonic() + lease_s

    def wake(self, base: str = "") -> None:
        """Have the next look take in the partition with this ledger; all of them where it is not said."""
        self._woken.add(base)

    def away(self, now: float) -> None:
        """Note that a service was away: what was missed meanwhile is looked for, and no lease expires by it."""
        self._no_expiry_until = now + self._lease_s
        self.wake()

    def look(self) -> bool:
        """Look, and settle; return whether at all partitions. Raises `UnavailableError`: the next look is as this."""
        now = time.monotonic()
        everywhere = "" in self._woken or now - self._swept_at >= _SWEEP_S
        self._swept_at = now if everywhere else self._swept_at
        woken, self._woken = self._woken, set()
        due = [one for one in self._partitions if one.ledger.base in woken or (everywhere and one.is_awaited)]
        self._woken = {owned.ledger.base for owned in due}
        heard = self._asked(due, now)
        found = {owned: turn.outcomes for owned, turn in heard.items() if turn.outcomes}
        self._settler.settle(found, self._partitions.guarded)
        self._woken.clear()
        for owned, turn in heard.items():
            if turn.more and any(owned.is_finished(offset) for offset in turn.outcomes):
                self._nudge(owned.ledger.base)
        return everywhere

    def forget(self) -> None:
        """Have the ledgers drop the marks that acknowledged commits cover. Raises `UnavailableError`."""
        covered = [(one, one.forgettable) for one in self._partitions if one.forgettable is not None]

        def forgotten(owned: OwnedPartition, answer: Callable[[], None]) -> None:
            answer()
            owned.forgettable = None

        answers = forgets([(one.ledger, committed) for one, committed in covered])
        for (owned, _), answer in zip(covered, answers(), strict=True):
            self._partitions.guarded(owned, partial(forgotten, answer=answer))

    def _asked(self, due: Sequence[OwnedPartition], now: float) -> Mapping[OwnedPartition, Turn]:
        heard: dict[OwnedPartition, Turn] = {}

        def hear(owned: OwnedPartition, answer: Callable[[], Turn]) -> None:
            heard[owned] = turn = answer()
            self._dispatcher.heard(owned, turn)
            self._settler.finish(owned, turn.settled)

        answers = turns([one.ledger for one in due], may_expire=now >= self._no_expiry_until)
        self._dispatcher.decode_ahead(list(self._partitions))
        for owned, answer in zip(due, answers(), strict=True):
            self._partitions.guarded(owned, partial(hear, answer=answer))
        return heard
