"""The ledger for those who only look: counts and ages of one partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.ledger.connection import LedgerConnection, translated


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
    """Return what the ledgers at *bases* hold, in their order; raises `UnavailableError`."""
    return [_view(*answer) for answer in connection.run_many("view", [(keys_of(base), []) for base in bases])]


def wake_channel_at(connection: LedgerConnection, base: str) -> str | None:
    """Return the wake channel of the owner of the ledger at *base*, an ingester's own. Raises `UnavailableError`."""
    with translated:
        found: Any = connection.client.hget(keys_of(base)[0], "wake")
    return None if found is None else str(found, "utf-8")


def _view(
    now: bytes,
    owner: list[bytes | None],
    claims: list[bytes],
    leased: list[bytes],
    outcomes: list[bytes],
    marks: list[bytes],
    due: list[bytes],
) -> LedgerView:
    generation, member, incarnation = (None if value is None else value.decode() for value in owner)
    now_ms, running = int(now), frozenset(map(int, leased))
    seconds = {int(offset): (float(at) - now_ms) / 1000 for offset, at in _pairs(due)}
    return LedgerView(
        generation=None if generation is None else int(generation),
        member=member,
        incarnation=incarnation,
        claims={int(offset): _claim(claim.decode(), now_ms) for offset, claim in _pairs(claims)},
        leased=running,
        outcomes=frozenset(map(int, outcomes)),
        marks=frozenset(map(int, marks)),
        waiting={offset: left for offset, left in seconds.items() if left > 0 and offset not in running},
    )


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    values = iter(flat)
    return zip(values, values, strict=True)


def _claim(text: str, now_ms: float) -> Claim:
    d, deaths, _, _, since, _ = text.split(" ")
    return Claim(int(d), int(deaths), max(0.0, (now_ms - int(since)) / 1000))
