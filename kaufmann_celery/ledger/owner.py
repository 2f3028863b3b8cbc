"""The ledger as the partition's owner uses it: every call carries the owner's generation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from kaufmann_celery.errors import KaufmannError
from kaufmann_celery.ledger.address import TTL_S, UNTAGGED, keys_of
from kaufmann_celery.ledger.connection import Call, LedgerConnection
from kaufmann_celery.ledger.spans import spans, spread
from kaufmann_celery.partitions.commit_metadata import Committed

#: Bytes and number of outcomes taken at a time.
_ROUND_BYTES = 4 * 1024 * 1024
_ROUND_EVENTS = 1000

#: Reasons by which an event may have failed for good.
_FINAL = frozenset({"time_limit", "revoked", "rejected", "refused"})

#: Offsets per script call: Redis runs nothing else meanwhile.
_CHUNK = 1000


class Fenced(KaufmannError):
    """Another ingester owns this partition now, or the ledger lost its data: drop the partition."""

    def __init__(self, *, lost: bool) -> None:
        super().__init__()
        #: True where the ledger is gone or another's, False where another ingester owns the partition.
        self.lost = lost


class Past(NamedTuple):
    """What was before an event's next dispatch."""

    #: The number of that dispatch.
    d: int = 1
    #: Of the dispatches before it: died alone, failed and are tried again, ended before the handler was called.
    deaths: int = 0
    failures: int = 0
    idle: int = 0

    @property
    def attempt(self) -> int:
        """Which run of the handler the dispatch is, from 1."""
        return self.d - self.idle


FIRST = Past()


@dataclass(frozen=True, slots=True)
class Raised:
    """A dispatch that ended without an outcome; the event is to be dispatched again, as `past.d`."""

    offset: int
    past: Past
    due_ms: int
    #: `retry`, `held`, `expired`, `died`, `time_limit`, `revoked`, `rejected`, `refused`.
    reason: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What the ledger already knew of an event that was to be claimed."""

    offset: int
    #: `claimed`, `outcome` or `finished`.
    state: str
    past: Past = FIRST
    #: Whether a worker runs it now.
    leased: bool = False
    #: Milliseconds until it is to be dispatched again; 0 = now.
    due_in_ms: int = 0
    #: How its last dispatch ended, where no owner has heard of that.
    raised: Raised | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What happened since the last turn."""

    now_ms: int
    raised: tuple[Raised, ...] = ()
    #: offset -> outcome, in the order of the partition: what is to be settled.
    outcomes: Mapping[int, bytes] = field(default_factory=dict)
    #: Handled, and there was nothing to publish: their runs have settled them.
    settled: Sequence[int] = ()
    #: Whether more outcomes wait than one turn takes.
    more: bool = False


class OwnerLedger:
    """One partition's ledger in its owner's hands. Each method blocks for one round trip.

    All raise `UnavailableError` where Redis is away, and `Fenced` where this is not the owner any more.
    """

    def __init__(
        self, connection: LedgerConnection, base: str, *, generation: int, member: str, tag: str = UNTAGGED
    ) -> None:
        self.base = base
        self.generation = generation
        self.member = member
        #: What its claims, and those that it adopts, have in common with the tasks that may begin them.
        self.tag = tag
        #: The random name of this history of offsets; empty until `own`.
        self.incarnation = ""
        self._connection = connection
        self._keys = keys_of(base)
        #: A predecessor's claims, until claimed again here: what was raised of them waits for that.
        self._unread: set[int] = set()
        #: Raised entries heard of: the next turn takes them off the ledger; and those that stay there until the event
        #: is concluded, because a successor has to hear of them too.
        self._heard: list[str] = []
        self._kept: set[str] = set()

    def own(
        self, committed: Committed, *, wake: str, question: str, vouched: str = ""
    ) -> tuple[set[int], set[int], set[int]]:
        """Take the partition over; return the offsets claimed, with an outcome, and with a finished mark.

        *committed* names the incarnation. A ledger of another one, or an empty one, is `Fenced` and `lost`, and
        *question*, a random word, lies in it from then on. Once Kafka has taken that commit from this generation the
        ledger is made anew with that question as *vouched*, even one of a higher generation: unless somebody has
        asked or owned meanwhile, or Redis was emptied.
        """
        answer = self._connection.run(
            "own",
            self._keys,
            [
                self.generation, self.member, wake, committed.incarnation or "", vouched, question, TTL_S,
                committed.offset, committed.highest, *committed.unfinished,
            ],
        )  # fmt: skip
        _refuse(answer[0])
        self.incarnation = committed.incarnation or ""
        claimed, reported, marked = ({int(offset) for offset in part} for part in answer[1:4])
        self._unread, self._heard, self._kept = set(claimed), [], set()
        return claimed, reported, marked

    def claim(self, offsets: Sequence[int]) -> dict[int, Claimed]:
        """Claim *offsets*; return what was known of those refused. The others are claimed, as d = 1.

        What was raised of a predecessor's claim is heard here.
        """
        return claims([(self, offsets)])()[0]()

    def turn(self, *, may_expire: bool, max_bytes: int = _ROUND_BYTES, limit: int = _ROUND_EVENTS) -> Turn:
        """Return what is to be dispatched again and what is to be settled; expire leases where allowed.

        Of what asks for nothing, and so was settled by its run, it tells once; where the answer is lost, `claim` does.
        What was raised of a predecessor's claim is returned once that is claimed again here.
        """
        return self._turned(self._connection.run("turn", *self._turn_call(int(may_expire), max_bytes, limit)))

    def _turn_call(self, *limits: int) -> Call:
        return self._call([*limits, *self._heard])

    def _turned(self, answer: Any) -> Turn:
        _refuse(answer[0])
        _, now, raised, outcomes, settled, more = answer
        self._heard = []
        entries = {entry.decode(): _raised(entry.decode()) for entry in raised}
        self._kept &= entries.keys()
        new = [one for entry, one in entries.items() if one.offset not in self._unread and self._hear(entry, one)]
        pairs = iter(outcomes)
        return Turn(
            int(now),
            tuple(sorted(new, key=lambda one: one.offset)),
            {int(offset): outcome for offset, outcome in zip(pairs, pairs, strict=True)},
            spread(settled),
            bool(more),
        )

    def settle(self, offsets: Sequence[int]) -> None:
        """Finish *offsets*: what their outcomes asked for is in Kafka."""
        for chunk in _chunks(offsets):
            self._run("settle", [spans(chunk)])

    def conclude(self, outcomes: Mapping[int, bytes]) -> set[int]:
        """Say what became of events that no worker runs; return the offsets refused."""
        answer = self._run("conclude", [part for pair in outcomes.items() for part in pair])
        return {int(offset) for offset in answer[1:]}

    def refuse(self, events: Mapping[int, Past]) -> None:
        """Say that Kafka will never take what the outcomes of *events* ask for; the next turn raises these."""
        numbers = (number for offset, past in events.items() for number in (offset, *past))
        self._run("refuse", [self.tag, *numbers])

    def forget(self, committed: Committed) -> None:
        """Drop the marks that an acknowledged commit covers."""
        forgets([(self, committed)])()[0]()

    def _forget_call(self, committed: Committed) -> Call:
        return self._call([TTL_S, committed.offset, committed.highest, *committed.unfinished])

    def audit(self) -> tuple[set[int], set[int], set[int], set[int]]:
        """Return the offsets claimed, leased, with an outcome, and with a finished mark."""
        answer = self._run("audit", [])
        return tuple({int(offset) for offset in part} for part in answer[1:5])  # type: ignore[return-value] # four

    def _unheard(self, offset: int, entry: bytes) -> Raised | None:
        if offset not in self._unread or not entry:
            return None
        said = f"{offset} {entry.decode()}"
        raised = _raised(said)
        self._hear(said, raised)
        return raised

    def _hear(self, entry: str, raised: Raised) -> bool:
        """Note a raised entry; return whether it is new."""
        if entry in self._kept:
            return False
        if raised.reason in _FINAL:
            self._kept.add(entry)
        else:
            self._heard.append(entry)
        return True

    def _claimed(self, offsets: Sequence[int], answers: Iterable[Any]) -> dict[int, Claimed]:
        known: dict[int, Claimed] = {}
        for answer in answers:
            _refuse(answer[0])
            fields = iter(answer[1:])
            for offset, state, claim, run, due, entry in zip(*[fields] * 6, strict=True):
                raised = self._unheard(int(offset), entry)
                known[int(offset)] = Claimed(
                    int(offset), state.decode(), _past(claim), bool(run), int(float(due)), raised
                )
        self._unread.difference_update(offsets)
        return known

    def _run(self, script: str, args: Iterable[Any]) -> Any:
        answer = self._connection.run(script, *self._call(args))
        _refuse(answer[0] if isinstance(answer, list) else answer)
        return answer

    def _call(self, args: Iterable[Any]) -> Call:
        return self._keys, [self.generation, self.member, self.incarnation, *args]


_T = TypeVar("_T")
#: Waits for the answers to a question in several ledgers. Each is read by a call, which raises `Fenced`.
Answers = Callable[[], list[Callable[[], _T]]]


def turns(ledgers: Sequence[OwnerLedger], *, may_expire: bool) -> Answers[Turn]:
    """Ask for the turns of *ledgers* at once; return what waits for them. Both raise `UnavailableError`."""
    calls = [one._turn_call(int(may_expire), _ROUND_BYTES, _ROUND_EVENTS) for one in ledgers]
    wait = _asked(ledgers, "turn", calls)
    return lambda: [partial(one._turned, answer) for one, answer in zip(ledgers, wait(), strict=True)]


def claims(wanted: Sequence[tuple[OwnerLedger, Sequence[int]]]) -> Answers[dict[int, Claimed]]:
    """Ask for claims in several ledgers at once; return what waits for them. Both raise `UnavailableError`."""
    calls = [one._call([one.tag, spans(chunk)]) for one, offsets in wanted for chunk in _chunks(offsets)]
    wait = _asked([one for one, _ in wanted], "claim", calls)

    def answers() -> list[Callable[[], dict[int, Claimed]]]:
        found = iter(wait())
        return [partial(one._claimed, offsets, [next(found) for _ in _chunks(offsets)]) for one, offsets in wanted]

    return answers


def forgets(covered: Sequence[tuple[OwnerLedger, Committed]]) -> Answers[None]:
    """Have several ledgers drop the marks that acknowledged commits cover; as `turns`."""
    wait = _asked([one for one, _ in covered], "forget", [one._forget_call(committed) for one, committed in covered])
    return lambda: [partial(_refuse, answer) for answer in wait()]


def _asked(ledgers: Sequence[OwnerLedger], script: str, calls: Sequence[Call]) -> Callable[[], list[Any]]:
    return ledgers[0]._connection.ask(script, calls) if ledgers else list


def _refuse(word: bytes) -> None:
    if word != b"OK":
        raise Fenced(lost=word == b"LOST")


def _past(claim: bytes) -> Past:
    return Past(*map(int, claim.split()[:4])) if claim else FIRST


def _raised(entry: str) -> Raised:
    offset, d, deaths, failures, idle, due, reason = entry.split(" ", 6)
    return Raised(int(offset), Past(int(d), int(deaths), int(failures), int(idle)), int(due), reason)


def _chunks(offsets: Sequence[int]) -> Iterable[Sequence[int]]:
    return (offsets[at : at + _CHUNK] for at in range(0, len(offsets), _CHUNK))
