"""The ledger for those who only look: counts and ages of one partition. Reads are not atomic with one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.ledger.connection import LedgerConnection, _translated


@dataclass(frozen=True, slots=True)
class LedgerView:
    """What the ledger of one partition holds."""

    #: The group's generation and member id of who owns it; None where there is no ledger.
    generation: int | None
    member: str | None
    incarnation: str | None
    #: Dispatched, and no outcome yet: offset -> seconds since it was claimed, and times its worker died.
    claims: dict[int, Claim]
    #: A worker runs them now.
    leased: frozenset[int]
    #: Reported, and not settled yet.
    outcomes: frozenset[int]
    #: Settled, and not covered by an acknowledged commit.
    marks: frozenset[int]
    #: To be dispatched again at a later time: offset -> seconds until then.
    waiting: dict[int, float]

    @property
    def unfinished(self) -> list[int]:
        """Offsets claimed or with an outcome, ascending."""
        return sorted({*self.claims, *self.outcomes})


@dataclass(frozen=True, slots=True)
class Claim:
    """One outstanding event."""

    #: Its dispatch number, 1 for the first.
    d: int
    deaths: int
    #: Seconds since it was claimed.
    age_s: float


def read(connection: LedgerConnection, bases: Sequence[str]) -> list[LedgerView]:
    """Return what the ledgers at *bases* hold, in their order. One round trip; raises `UnavailableError`."""
    pipeline = connection.client.pipeline(transaction=False)
    pipeline.time()
    for base in bases:
        owner, claims, leases, _, outcomes, marks, due, _ = keys_of(base)
        pipeline.hmget(owner, "generation", "member", "incarnation")
        pipeline.hgetall(claims)
        pipeline.hkeys(leases)
        pipeline.hkeys(outcomes)
        pipeline.zrange(marks, 0, -1)
        pipeline.zrange(due, 0, -1, withscores=True)
    with _translated():
        (seconds, micros), *answers = pipeline.execute()
    now_ms = seconds * 1000 + micros / 1000
    parts = iter(answers)
    return [_view(now_ms, *(next(parts) for _ in range(6))) for _ in bases]


def wake_channel_at(connection: LedgerConnection, base: str) -> str | None:
    """Return the wake channel of the owner of the ledger at *base*, an ingester's own. Raises `UnavailableError`."""
    with _translated():
        found: Any = connection.client.hget(keys_of(base)[0], "wake")
    return None if found is None else str(found, "utf-8")


def _view(
    now_ms: float,
    owner: list[bytes | None],
    claims: dict[bytes, bytes],
    leased: list[bytes],
    outcomes: list[bytes],
    marks: list[bytes],
    due: list[tuple[bytes, float]],
) -> LedgerView:
    generation, member, incarnation = (None if value is None else value.decode() for value in owner)
    running = frozenset(map(int, leased))
    return LedgerView(
        generation=None if generation is None else int(generation),
        member=member,
        incarnation=incarnation,
        claims={int(offset): _claim(claim.decode(), now_ms) for offset, claim in claims.items()},
        leased=running,
        outcomes=frozenset(map(int, outcomes)),
        marks=frozenset(map(int, marks)),
        waiting={int(offset): (at - now_ms) / 1000 for offset, at in due if at > now_ms and int(offset) not in running},
    )


def _claim(text: str, now_ms: float) -> Claim:
    d, deaths, _, _, since = text.split(" ")
    return Claim(int(d), int(deaths), max(0.0, (now_ms - int(since)) / 1000))
