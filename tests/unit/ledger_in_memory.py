"""A partition owned by an ingester whose ledger is the plain Python model, which real servers are held against."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

from kafka import TopicPartition

from kaufmann_celery.errors import EventError, UnavailableError
from kaufmann_celery.handlers import Handler, Options
from kaufmann_celery.ledger import FIRST, Fenced, LedgerConnection, OwnerLedger, Past
from kaufmann_celery.ledger.connection import Call
from kaufmann_celery.ledger.spans import spread
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import GoneRecord, Pending
from kaufmann_celery.tasks import envelope
from kaufmann_celery.tasks.envelope import Decoded
from tests.integration.ledger_model import Model, Refused

PARTITION = TopicPartition("orders", 0)
START = Committed(0, -1, (), "history")


@dataclass
class InMemory:
    """Answers an owner's scripts as Redis would, from a model."""

    model: Model = field(default_factory=Model)
    #: offset -> milliseconds until a claim is due.
    due: dict[int, int] = field(default_factory=dict)
    away: bool = False

    def ask(self, script: str, calls: Sequence[Call]) -> Callable[[], list[Any]]:
        return lambda: [self.run(script, *call) for call in calls]

    def run(self, script: str, _keys: Sequence[str], args: Sequence[Any]) -> Any:
        if self.away:
            raise UnavailableError
        try:
            if script == "own":
                return self._own(*args)
            generation, member, incarnation, *rest = args
            self.model.fence(generation, member, incarnation)
        except Refused as refused:
            return [str(refused).encode()]
        steps: dict[str, Callable[[list[Any]], Any]] = {
            "claim": self._claim, "conclude": self._conclude, "audit": self._audit, "settle": self._settle,
            "refuse": self._refuse,
        }  # fmt: skip
        return steps[script](rest)

    def _own(
        self,
        generation: int,
        member: str,
        _wake: str,
        incarnation: str,
        vouched: str,
        question: str,
        _ttl: int,
        *rest: int,
    ) -> Any:
        offset, highest, *unfinished = rest
        committed = Committed(offset, highest, tuple(unfinished), incarnation)
        self.model.own(generation, member, committed, question=question, vouched=vouched)
        return [b"OK", list(self.model.claims), list(self.model.outcomes), list(self.model.marks)]

    def _claim(self, args: list[Any]) -> Any:
        tag, text = args
        offsets = spread(text.encode())
        known = self.model.claim(offsets, tag)
        return [b"OK", *(part for offset in known for part in self._told(offset, known[offset]))]

    def _told(self, offset: int, state: str) -> Iterator[Any]:
        claim = " ".join(map(str, self.model.claims.get(offset, ()))).encode()
        run = self.model.leases.get(offset, "").encode()
        yield from (offset, state.encode(), claim, run, self.due.get(offset, 0), self._entry(offset))

    def _entry(self, offset: int) -> bytes:
        if offset not in self.model.raised:
            return b""
        past, reason = self.model.raised[offset]
        return " ".join(map(str, (*past, self.due.get(offset, 0), reason))).encode()

    def _conclude(self, pairs: list[Any]) -> Any:
        refused = [self.model.conclude(pairs[at], pairs[at + 1]) for at in range(0, len(pairs), 2)]
        return [b"OK", *(offset for one in refused for offset in one)]

    def _audit(self, _: list[Any]) -> Any:
        model = self.model
        return [b"OK", *(list(part) for part in (model.claims, model.leases, model.outcomes, model.marks))]

    def _settle(self, args: list[str]) -> Any:
        self.model.settle(spread(args[0].encode()))
        return b"OK"

    def _refuse(self, args: list[Any]) -> Any:
        _tag, *numbers = args
        for offset, *past in (numbers[at : at + 5] for at in range(0, len(numbers), 5)):
            if self.model.outcomes.pop(offset, None) is not None:
                self.model.claims[offset] = Past(*past)
                self.model.again(offset, alone=False, reason="refused")
        return b"OK"


def connection_to(memory: InMemory) -> LedgerConnection:
    return cast(LedgerConnection, memory)


def owned_by(memory: InMemory, committed: Committed = START, *, waiting_holds: bool = False) -> OwnedPartition:
    """Take the partition over and adopt what its ledger holds, as an ingester does."""
    ledger = OwnerLedger(connection_to(memory), "base", generation=1, member="m")
    with suppress(Fenced):
        ledger.own(committed, wake="wake", question="may it")
    claimed, reported, marked = ledger.own(committed, wake="wake", question="again", vouched="may it")
    owned = OwnedPartition(PARTITION, ledger, committed, waiting_holds=waiting_holds)
    owned.adopt(claimed | reported)
    owned.finished_early |= marked
    return owned


def record(offset: int) -> GoneRecord:
    return GoneRecord("orders", 0, offset, b"order.placed", b"value")


def handler(pattern: str = "order.placed", **options: Any) -> Handler:
    return Handler(pattern, print, Options(**options))


def event(offset: int, *, of: Handler | None = None, error: EventError | None = None) -> Pending:
    """One event that was decoded; *error* is what is wrong with it."""
    wanted_by = None if error is not None else of or handler()
    text = envelope.pack(
        "order.placed", key=None, raw_key=b"order.placed", timestamp_ms=0, headers=(), meta={}, payload={"n": offset}
    )
    return Pending(record(offset), Decoded("order.placed", wanted_by, text, error=error), failure=error)


def adopting(
    memory: InMemory, *claims: int, outcomes: Iterable[int] = (), leases: Iterable[int] = (),
    waiting_holds: bool = False,
) -> OwnedPartition:  # fmt: skip
    """Own a partition whose predecessor left these offsets behind."""
    memory.model.incarnation = "history"
    memory.model.claims = dict.fromkeys(claims, FIRST)
    memory.model.outcomes = dict.fromkeys(outcomes, b"")
    memory.model.leases = dict.fromkeys(leases, "run")
    return owned_by(memory, waiting_holds=waiting_holds)


def fetch(owned: OwnedPartition, *offsets: int, position: int | None = None) -> None:
    owned.fetched.extend(record(offset) for offset in offsets)
    owned.read_to = offsets[-1] + 1 if position is None else position


def take(owned: OwnedPartition, room: int) -> list[int]:
    """Take records as the dispatcher does: adopted ones always, others while there is room; return those taken."""
    taken = []
    for one in owned.records():
        adopted = one.offset in owned.adopted
        if not adopted and room <= 0:
            if not owned.adopted:
                break
            owned.hold()
            continue
        owned.deliver(event(one.offset))
        taken.append(one.offset)
        room -= not adopted
    return taken


def claim(owned: OwnedPartition) -> None:
    known = owned.ledger.claim(offsets_of(owned.decoded))
    while owned.decoded:
        one = owned.decoded.popleft()
        owned.claimed(one, known.get(one.offset))


def running(owned: OwnedPartition, *offsets: int, of: Handler | None = None) -> list[Pending]:
    """Have *offsets* read, claimed and ready; return their events."""
    fetch(owned, *offsets)
    events = [event(offset, of=of) for offset in offsets]
    for one, _ in zip(events, owned.records(), strict=False):
        owned.deliver(one)
    claim(owned)
    return events


def offsets_of(events: Any) -> list[int]:
    return [one.offset for one in events]
