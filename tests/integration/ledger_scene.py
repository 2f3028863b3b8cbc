"""One partition's ledger in a real Redis, and what its keys hold."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

from redis.cluster import RedisCluster

from kaufmann_celery.ledger import (
    UNTAGGED,
    Fenced,
    LedgerAddress,
    LedgerConnection,
    OwnerLedger,
    Past,
    Report,
    RunLedger,
    Turn,
)
from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.partitions.commit_metadata import Committed

_numbers = itertools.count()

NOTHING = Committed(0, -1, (), "history")


@dataclass(frozen=True)
class Held:
    """All that a ledger holds, as the scripts' comments describe it."""

    #: `incarnation`, `generation`, `member`.
    owner: tuple[str | None, str | None, str | None]
    #: The question of who would make the ledger anew.
    asked: str | None
    claims: dict[int, Past]
    #: offset -> whose tasks may begin it
    tags: dict[int, str]
    leases: dict[int, str]
    #: run -> events in its task
    runs: dict[str, int]
    outcomes: dict[int, bytes]
    marks: set[int]
    due: set[int]
    #: offset -> what was before, and why the last dispatch ended
    raised: dict[int, tuple[Past, str]]


@dataclass
class LedgerScene:
    """A partition of its own: nothing is shared with another test's."""

    connection: LedgerConnection
    base: str = field(default_factory=lambda: LedgerAddress("test", "cluster", "group", f"t{next(_numbers)}", 0).base)

    @property
    def client(self) -> Any:
        return self.connection.client

    def configure(self, name: str, value: object) -> None:
        """Set an option of the server, of every node where it is a cluster."""
        everywhere = {"target_nodes": "all"} if isinstance(self.client, RedisCluster) else {}
        self.client.config_set(name, value, **everywhere)

    def owner(
        self,
        generation: int = 1,
        member: str = "m",
        committed: Committed = NOTHING,
        *,
        vouched: bool = True,
        tag: str = UNTAGGED,
    ) -> OwnerLedger:
        """Own, as an ingester does whose commit Kafka takes if that is asked for, or refuses where not *vouched*."""
        ledger = self.unowned(generation, member, tag)
        question = f"{member} in {generation}"
        try:
            ledger.own(committed, wake="wake", question=question)
        except Fenced:
            if not vouched:
                raise
            ledger.own(committed, wake="wake", question=question, vouched=question)
        return ledger

    def unowned(self, generation: int = 1, member: str = "m", tag: str = UNTAGGED) -> OwnerLedger:
        return OwnerLedger(self.connection, self.base, generation=generation, member=member, tag=tag)

    def run(
        self, name: str = "run", *, incarnation: str = "history", lease: float = 10.0, tag: str = UNTAGGED
    ) -> RunLedger:
        return RunLedger(self.connection, self.base, incarnation, name, lease, tag)

    def lose_leases_of(self, run: str) -> None:
        """Forget a run as a Redis does that lost its last moments."""
        _, _, leases, runs, *_ = keys_of(self.base)
        self.client.hdel(runs, run)
        for offset, holder in self.client.hgetall(leases).items():
            if holder.decode() == run:
                self.client.hdel(leases, offset)

    def let_expire(self, run: str) -> None:
        """Put the end of a run's lease into the past."""
        runs = keys_of(self.base)[3]
        _, rest = self.client.hget(runs, run).decode().split(" ", 1)
        self.client.hset(runs, run, f"1 {rest}")

    def expires_in_ms(self, run: str) -> int:
        seconds, micros = self.client.time()
        expires = int(self.client.hget(keys_of(self.base)[3], run).split()[0])
        return int(expires - seconds * 1000 - micros // 1000)

    def nobody_looked_for(self, milliseconds: int) -> None:
        """Put the owner's last turn into the past: Redis was away, or its clock jumped."""
        owner = keys_of(self.base)[0]
        self.client.hincrby(owner, "seen", -milliseconds)

    def held(self) -> Held:
        owner, claims, leases, runs, outcomes, marks, due, raised, _ = keys_of(self.base)
        pipeline = self.client.pipeline()
        pipeline.hmget(owner, "incarnation", "generation", "member", "asked")
        for key in (claims, leases, runs, outcomes, raised):
            pipeline.hgetall(key)
        pipeline.zrange(marks, 0, -1)
        pipeline.zrange(due, 0, -1)
        said, claimed, leased, running, reported, again, marked, waiting = pipeline.execute()
        return Held(
            tuple(part and part.decode() for part in said[:3]),
            said[3] and said[3].decode(),
            {int(offset): _past_of(claim) for offset, claim in claimed.items()},
            {int(offset): claim.split()[5].decode() for offset, claim in claimed.items()},
            {int(offset): run.decode() for offset, run in leased.items()},
            {run.decode(): int(entry.split()[1]) for run, entry in running.items()},
            {int(offset): outcome for offset, outcome in reported.items()},
            {int(offset) for offset in marked},
            {int(offset) for offset in waiting},
            {int(offset): (_past_of(entry), entry.split()[5].decode()) for offset, entry in again.items()},
        )


def _past_of(text: bytes) -> Past:
    return Past(*map(int, text.split()[:4]))


def looked(owner: OwnerLedger, *, may_expire: bool = False) -> Turn:
    return owner.turn(may_expire=may_expire, max_bytes=10**6, limit=1000)


def report(run: RunLedger, *events: tuple[int, int], outcome: bytes = b"out", last: bool = True) -> set[int]:
    return run.finish([Report(offset, d, outcome) for offset, d in events], last=last, text="text")


def retry(run: RunLedger, event: tuple[int, int], seconds: float = 60.0) -> set[int]:
    return run.finish([Report(*event, retry_in=seconds)], last=True, text="text")


def died(run: RunLedger, *events: tuple[int, int], at_fault: bool = True) -> int:
    return run.release(events, reason="died", at_fault=at_fault, text="text")
