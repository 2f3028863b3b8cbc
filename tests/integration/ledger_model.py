"""The ledger as a plain Python model: what the scripts should do, without Redis."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from kaufmann_celery.ledger import FIRST, Past
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.integration.ledger_scene import Held


class Refused(Exception):
    """The owner's call was refused: `LOST` or `FENCED`."""

    @property
    def lost(self) -> bool:
        """Return whether the ledger is gone, or another's."""
        return self.args == ("LOST",)


@dataclass
class Model:
    """One partition's ledger."""

    incarnation: str | None = None
    generation: int = 0
    member: str = ""
    asked: str | None = None
    claims: dict[int, Past] = field(default_factory=dict)
    tags: dict[int, str] = field(default_factory=dict)
    leases: dict[int, str] = field(default_factory=dict)
    #: run -> (size of its task, which execution began it)
    runs: dict[str, tuple[int, str]] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    outcomes: dict[int, bytes] = field(default_factory=dict)
    marks: set[int] = field(default_factory=set)
    due: set[int] = field(default_factory=set)
    raised: dict[int, tuple[Past, str]] = field(default_factory=dict)
    #: Settled by their runs, and the owner has not heard of it.
    handled: set[int] = field(default_factory=set)

    def held(self) -> Held:
        owned = self.incarnation is not None
        return Held(
            (self.incarnation, str(self.generation), self.member) if owned else (None, None, None),
            self.asked,
            self.claims,
            self.tags,
            self.leases,
            {run: size for run, (size, _) in self.runs.items()},
            self.outcomes,
            self.marks,
            self.due,
            self.raised,
        )

    def copy(self) -> Model:
        return copy.deepcopy(self)

    # The owner

    def own(self, generation: int, member: str, committed: Committed, *, question: str, vouched: str) -> None:
        another = self.incarnation is None or self.incarnation != committed.incarnation
        older = generation < self.generation or (generation == self.generation and member != self.member)
        if (another or older) and self.asked != vouched:
            self.asked = question
            raise Refused("LOST" if another else "FENCED")
        if another:
            self.__init__()  # type: ignore[misc] # all of it is another history's
        self.incarnation, self.asked = committed.incarnation, None
        self.generation, self.member = generation, member
        self.handled.clear()
        for offset in self.offsets():
            if committed.holds(offset):
                self.drop(offset)
                self.marks.discard(offset)

    def fence(self, generation: int, member: str, incarnation: str) -> None:
        if self.incarnation != incarnation:
            raise Refused("LOST")
        if generation < self.generation or (generation == self.generation and member != self.member):
            raise Refused("FENCED")
        self.generation, self.member = generation, member

    def claim(self, offsets: Iterable[int], tag: str) -> dict[int, str]:
        known = {}
        for offset in offsets:
            if offset in self.claims:
                known[offset] = "claimed"
                self.tags[offset] = tag
            elif offset in self.outcomes:
                known[offset] = "outcome"
            elif offset in self.marks:
                known[offset] = "finished"
            else:
                self.claims[offset] = FIRST
                self.tags[offset] = tag
        return known

    def expire(self) -> None:
        for offset, run in list(self.leases.items()):
            if run in self.expired:
                self.again(offset, alone=self.runs[run][0] == 1, reason="expired")
        for run in self.expired:
            self.runs.pop(run, None)
        self.expired.clear()

    def hear(self, heard: Mapping[int, tuple[Past, str]]) -> None:
        for offset, entry in heard.items():
            if self.raised.get(offset) == entry:
                del self.raised[offset]

    def settle(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            self.drop(offset)
            self.marks.add(offset)

    def conclude(self, offset: int, outcome: bytes) -> set[int]:
        if offset in self.leases or offset in self.marks:
            return {offset}
        self.drop(offset)
        self.outcomes[offset] = outcome
        return set()

    def forget(self, committed: Committed) -> None:
        self.marks = {offset for offset in self.marks if not committed.holds(offset)}

    # A run

    def begin(
        self, incarnation: str, run: str, execution: str, tag: str, events: Iterable[tuple[int, int]]
    ) -> set[int]:
        if self.incarnation != incarnation:
            return set()
        again = run in self.runs and self.runs[run][1] == execution

        def may_begin(offset: int) -> bool:
            if offset in self.leases:
                return again and self.leases[offset] == run
            return self.tags[offset] == tag

        accepted = {offset for offset, d in events if self.d(offset) == d and may_begin(offset)}
        for offset in accepted:
            self.lease(offset, run)
        if accepted:
            self.runs[run] = (len(accepted), execution)
            self.expired.discard(run)
        return accepted

    def renew(self, incarnation: str, run: str, events: Iterable[tuple[int, int]], size: int) -> set[int]:
        if self.incarnation != incarnation:
            return set()
        held = set()
        for offset, d in events:
            if offset not in self.leases and self.d(offset) == d:
                self.lease(offset, run)
            if self.leases.get(offset) == run:
                held.add(offset)
        if held:
            self.runs[run] = (size, "-")
            self.expired.discard(run)
        return held

    def finish(
        self, incarnation: str, run: str, reports: Iterable[tuple[int, int, bytes | str]], *, last: bool
    ) -> set[int]:
        """Take reports: outcomes, or `retry` or `held`."""
        refused = set()
        for offset, d, outcome in reports:
            known = self.incarnation == incarnation
            if known and self.d(offset) == d and self.leases.get(offset, run) == run:
                if isinstance(outcome, str):
                    self.again(offset, alone=False, reason=outcome)
                elif outcome:
                    self.drop(offset)
                    self.outcomes[offset] = outcome
                else:
                    self.settle([offset])
                    self.handled.add(offset)
            elif not known or not self.is_told(offset, outcome):
                refused.add(offset)
        if last:
            self.end(run)
        return refused

    def release(self, incarnation: str, run: str, events: Iterable[tuple[int, int]], *, at_fault: bool) -> int:
        if self.incarnation != incarnation:
            return 0
        alone = at_fault and run in self.runs and self.runs[run][0] == 1
        released = 0
        for offset, d in events:
            if self.d(offset) == d and self.leases.get(offset, run) == run:
                self.again(offset, alone=alone, reason="died")
                released += 1
        self.end(run)
        return released

    # Parts

    def is_told(self, offset: int, outcome: bytes | str) -> bool:
        return self.outcomes.get(offset) == outcome if outcome else offset in self.marks

    def hears_what_is_handled(self) -> set[int]:
        handled, self.handled = self.handled, set()
        return handled

    def d(self, offset: int) -> int | None:
        return self.claims[offset].d if offset in self.claims else None

    def lease(self, offset: int, run: str) -> None:
        self.leases[offset] = run
        self.due.discard(offset)
        self.raised.pop(offset, None)

    def again(self, offset: int, *, alone: bool, reason: str) -> None:
        past = self.claims[offset]
        failed, idle = reason in ("retry", "time_limit"), reason in ("held", "revoked", "rejected")
        self.claims[offset] = Past(past.d + 1, past.deaths + alone, past.failures + failed, past.idle + idle)
        self.leases.pop(offset, None)
        self.due.add(offset)
        self.raised[offset] = (self.claims[offset], reason)

    def drop(self, offset: int) -> None:
        for kept in (self.claims, self.tags, self.leases, self.outcomes, self.raised):
            kept.pop(offset, None)
        self.due.discard(offset)

    def end(self, run: str) -> None:
        self.runs.pop(run, None)
        self.expired.discard(run)

    def offsets(self) -> set[int]:
        return {*self.claims, *self.leases, *self.outcomes, *self.marks, *self.due, *self.raised}
