"""How many events each ingester has outstanding, read off the ledger in Redis a few times a second.

Imports nothing of the package under test. The ledger of a partition stands in Redis under
`<prefix>:{<cluster>/<group>/<topic id>/<partition>}:<part>`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import redis

from tests.chaos.evidence import Ownership, Place, Sample

_LOOK_EVERY_S = 0.2
_SCAN_EVERY_S = 1.0
#: An ingester's claims are noted one by one where it has more.
_MANY = 50


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one partition's ledger held at one moment."""

    partition: int
    #: Who owns it, since which of the group's generations.
    member: str
    generation: int
    #: Dispatched and not settled, but for those that wait for their retry, or a slot for it: these hold none.
    outstanding: frozenset[int]
    #: Of these, what is not sent for the first time.
    again: frozenset[int] = frozenset()


@dataclass
class OwnClaims:
    """Tells what an ingester claimed from what it took over with a partition, for that is not held back.

    What is new when a partition has just changed hands may be the former owner's.
    """

    _claimed_by: dict[Place, str] = field(default_factory=dict)
    _members: dict[int, str] = field(default_factory=dict)
    owners: list[Ownership] = field(default_factory=list)

    def observe(self, at: float, ledgers: Iterable[Ledger]) -> list[Sample]:
        """Return how much each ingester has outstanding."""
        own: defaultdict[str, list[Place]] = defaultdict(list)
        everything: Counter[str] = Counter()
        again: Counter[str] = Counter()
        ledgers = list(ledgers)
        latest = {one.member: one.generation for one in sorted(ledgers, key=lambda one: one.generation)}
        for ledger in ledgers:
            claimer = ledger.member
            if self._members.get(ledger.partition) != ledger.member:
                self._members[ledger.partition], claimer = ledger.member, ""
                self.owners.append(Ownership(at, ledger.partition, ledger.member))
            if not claimer:
                # Its own too, where it has them back from another.
                self._claimed_by.update({(ledger.partition, offset): "" for offset in ledger.outstanding})
            for offset in ledger.outstanding:
                claimed_by = self._claimed_by.setdefault((ledger.partition, offset), claimer)
                if ledger.generation < latest[ledger.member]:
                    continue  # it has let go of the partition, and the next owner has not taken it over yet
                if claimed_by == ledger.member:
                    own[ledger.member].append((ledger.partition, offset))
                again[ledger.member] += claimed_by == ledger.member and offset in ledger.again
                everything[ledger.member] += 1
        return [
            Sample(at, member, len(mine := own[member]), count, again[member], tuple(mine) if len(mine) > _MANY else ())
            for member, count in everything.items()
        ]


class OutstandingPoller:
    """Looks on in a thread, past the proxy."""

    def __init__(self, port: int, group: str, *, waiting_holds: bool) -> None:
        self._port, self._group, self._waiting_holds = port, group, waiting_holds
        self.claims = OwnClaims()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outstanding", daemon=True)
        self._bases: dict[str, int] = {}
        self._scanned_at = 0.0
        self.samples: list[Sample] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        client = redis.Redis(port=self._port, socket_timeout=2, decode_responses=True)
        while not self._stop.wait(_LOOK_EVERY_S):
            try:
                if time.monotonic() - self._scanned_at > _SCAN_EVERY_S:
                    self._scan(client)
                self.samples += self.claims.observe(time.time(), self._look(client))
            except redis.RedisError:
                continue  # it is away: that is what is being tried

    def _scan(self, client: Any) -> None:
        for key in client.scan_iter(match=f"*/{self._group}/*:owner", count=1000):
            base = key.removesuffix(":owner")
            self._bases[base] = int(base.rstrip("}").rpartition("/")[2])
        self._scanned_at = time.monotonic()

    def _look(self, client: Any) -> list[Ledger]:
        pipeline = client.pipeline(transaction=True)
        for base in self._bases:
            pipeline.hmget(f"{base}:owner", "member", "generation")
            pipeline.hgetall(f"{base}:claims")
            pipeline.hkeys(f"{base}:leases")
            pipeline.hkeys(f"{base}:outcomes")
            pipeline.zrange(f"{base}:due", 0, -1)
        parts = iter(pipeline.execute())
        found = []
        for partition in self._bases.values():
            (member, generation), claims, leases, outcomes, due = (next(parts) for _ in range(5))
            waiting = set() if self._waiting_holds else set(due) - set(leases)
            if member is not None:
                outstanding = frozenset(map(int, {*claims, *outcomes} - waiting))
                again = frozenset(int(offset) for offset, claim in claims.items() if not claim.startswith("1 "))
                found.append(Ledger(partition, member, int(generation), outstanding, again))
        return found
