"""How each kind of fault is done. What came to pass is noted as `Incident`s, with the times at which it did."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from threading import Lock

import redis

from tests.chaos.evidence import Incident
from tests.chaos.redis_tail import RedisTail
from tests.chaos.schedule import Fault
from tests.chaos.stack import ChaosStack
from tests.chaos.supervision import Slot, Supervisor, children, signal_all

#: Seconds that a victim may take to be there, and that a signal may take to end it.
_PATIENCE_S = 30.0
#: An ingester is added beyond so many, and removed down to so many.
_MOST_INGESTERS, _FEWEST_INGESTERS = 5, 2


@dataclass
class Faults:
    """Strikes. Each kind of victim has a lock, so that no two faults strike the same service at once."""

    stack: ChaosStack
    supervisor: Supervisor
    tail: RedisTail
    incidents: list[Incident] = field(default_factory=list)
    _locks: dict[str, Lock] = field(
        default_factory=lambda: {name: Lock() for name in ("ingester", "worker", "redis", "kafka", "registry")}
    )

    def strike(self, fault: Fault) -> None:
        """Do *fault* from beginning to end. Blocks."""
        for kind in fault.kind.split("-and-"):
            role, _, how = kind.partition("-")
            with self._locks["worker" if role == "child" else role]:
                self._do(kind, role, how, fault)

    def _do(self, kind: str, role: str, how: str, fault: Fault) -> None:
        if role in ("ingester", "worker", "child"):
            self._strike_process(kind, "worker" if role == "child" else role, how, fault)
        elif how in ("frozen", "away", "silent", "cut"):
            self._strike_connections(kind, role, how, fault.lasts_s)
        elif role == "redis":
            self._strike_redis(kind, how, fault.lasts_s)
        else:
            with self._noted(kind, role):
                self.stack.kill(role)
                time.sleep(fault.lasts_s)
                self.stack.start(role)

    def _strike_process(self, kind: str, role: str, how: str, fault: Fault) -> None:
        if how == "add" and len(self.supervisor.of(role)) < _MOST_INGESTERS:
            with self._noted(kind):
                self.supervisor.add(role)
            return
        slot = self._victim(role, fault.victim)
        if slot is None:
            self.incidents.append(Incident(kind, time.time(), time.time(), note="nobody was there"))
        elif kind.startswith("child"):
            self._strike_child(kind, slot, how, fault)
        elif how == "freeze":
            assert slot.life is not None
            pid = slot.life.pid
            self._freeze(kind, slot, [pid, *children(pid)] if role == "worker" else [pid], fault.lasts_s)
        else:
            is_for_good = how == "remove" and len(self.supervisor.of(role)) > _FEWEST_INGESTERS
            self._end(kind, slot, signal.SIGKILL if how == "kill" else signal.SIGTERM, for_good=is_for_good)

    def _strike_child(self, kind: str, slot: Slot, how: str, fault: Fault) -> None:
        assert slot.life is not None
        pool = children(slot.life.pid)
        if not pool:
            self.incidents.append(Incident(kind, time.time(), time.time(), slot.name, note="no child was there"))
            return
        child = pool[fault.victim % len(pool)]
        if how == "freeze":
            self._freeze(kind, slot, [child], fault.lasts_s)
            return
        with self._noted(kind, target=slot.name) as incident:
            incident.killed = [child]
            signal_all([child], signal.SIGKILL if how == "kill" else signal.SIGTERM)

    def _freeze(self, kind: str, slot: Slot, pids: list[int], lasts_s: float) -> None:
        with self._noted(kind, target=slot.name) as incident:
            incident.frozen = pids
            signal_all(pids, signal.SIGSTOP)
            try:
                time.sleep(lasts_s)
            finally:
                signal_all(pids, signal.SIGCONT)

    def _end(self, kind: str, slot: Slot, number: signal.Signals, *, for_good: bool) -> None:
        with self._noted(kind, target=slot.name) as incident:
            pids = [slot.life.pid, *children(slot.life.pid)] if slot.life else []
            life = self.supervisor.signal(slot, number, for_good=for_good)
            if number == signal.SIGKILL:
                incident.killed = pids
            deadline = time.monotonic() + _PATIENCE_S
            while life is not None and life.ended is None and time.monotonic() < deadline:
                time.sleep(0.01)

    def _strike_connections(self, kind: str, name: str, how: str, lasts_s: float) -> None:
        proxy = self.stack.kafka_proxy if name == "kafka" else self.stack.redis_proxy
        if how == "cut":
            with self._noted(kind, name):
                proxy.cut()
            return
        states: dict[str, Callable[[], AbstractContextManager[None]]] = {
            "frozen": lambda: self.stack.frozen(name),
            "away": proxy.away,
            "silent": proxy.silent,
        }
        with self._noted(kind, name), states[how]():
            time.sleep(lasts_s)

    def _strike_redis(self, kind: str, how: str, lasts_s: float) -> None:
        with self._noted(kind, "redis") as incident, redis.Redis(port=self.stack.redis_port) as client:
            if how == "flushed":
                incident.lost_from = time.time()
                client.flushall()
                return
            if how == "restart":
                # What was answered for is on disk from now on.
                client.config_set("appendfsync", "always")
            with self.tail.at_rest():
                self.stack.kill("redis")
                if how == "tail-lost":
                    incident.lost_from, incident.note = self.tail.cut()
                elif how == "emptied":
                    incident.lost_from = incident.began
                    self.stack.empty_redis()
                time.sleep(lasts_s)
                self.stack.start("redis")

    def _victim(self, role: str, number: int) -> Slot | None:
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if slots := self.supervisor.of(role):
                return slots[number % len(slots)]
            time.sleep(0.05)
        return None

    @contextmanager
    def _noted(self, kind: str, away: str | None = None, target: str = "") -> Iterator[Incident]:
        incident = Incident(kind, time.time(), float("inf"), target=target, away=away)
        self.incidents.append(incident)
        try:
            yield incident
        finally:
            incident.ended = time.time()
