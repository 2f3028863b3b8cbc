"""What the ingester's loop makes of what it hears, with a ledger in memory and no other service."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from celery import Celery

from kaufmann_celery import Kaufmann
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ingester import Ingester
from kaufmann_celery.ledger.wake import Woken
from kaufmann_celery.partitions.messages import Fetched, Revoked
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.stopping import Stop
from tests.unit.ledger_in_memory import PARTITION, InMemory, adopting, record


class Looked(InMemory):
    """A ledger with nothing to tell; notes whether leases may expire, at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.may_expire: list[bool] = []

    def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if script != "turn" or self.away:
            return super().run(script, keys, args)
        self.may_expire.append(bool(args[3]))
        return [b"OK", 0, [], [], b"", 0]


class Scene:
    """An ingester that owns orders:0, with one event that a worker runs."""

    def __init__(self) -> None:
        self.memory = Looked()
        self.owned: OwnedPartition = adopting(self.memory, 3, leases=[3])
        self.ingester: Ingester = Kaufmann("orders", celery=Celery(broker="memory://", set_as_current=False)).ingester()
        self.ingester._partitions.owned[PARTITION] = self.owned

    def may_expire(self) -> bool:
        """Return whether leases may expire at the next look."""
        self.ingester._hear(Woken())
        self.ingester._look()
        return self.memory.may_expire[-1]

    def a_lease_later(self) -> None:
        self.ingester._looking._no_expiry_until -= self.ingester.config.lease


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_no_lease_expires_for_one_lease_after_a_start_or_an_outage(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever lives has the time to renew."""
    monkeypatch.setattr("kaufmann_celery.ingester._AWAY_S", 0.0)
    assert not scene.may_expire()
    scene.a_lease_later()
    assert scene.may_expire()
    scene.memory.away = True
    scene.ingester._turn([Woken()])
    scene.memory.away = False
    assert not scene.may_expire()
    scene.a_lease_later()
    assert scene.may_expire()


def test_a_stop_does_not_tell_of_a_recovery(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It asks no registry any more."""
    monkeypatch.setattr("kaufmann_celery.ingester._AWAY_S", 0.0)
    monkeypatch.setattr(scene.ingester._ledger, "ping", lambda: None)
    scene.ingester._away(UnavailableError("the registry is away"))
    scene.ingester._stop.ask()
    scene.ingester._turn([])
    assert "answer again" not in caplog.text

    monkeypatch.setattr(scene.ingester, "_stop", Stop(10.0))
    scene.ingester._turn([])
    assert "all services answer again" in caplog.text


def test_what_is_revoked_is_forgotten(scene: Scene) -> None:
    scene.ingester._hear(Fetched(PARTITION, [record(3)], 4))
    assert [one.offset for one in scene.owned.fetched] == [3]
    scene.ingester._hear(Revoked(frozenset({PARTITION})))
    scene.ingester._hear(Fetched(PARTITION, [record(4)], 5))

    assert list(scene.ingester._partitions) == []
    assert [one.offset for one in scene.owned.fetched] == [3]
    scene.ingester._look()
    assert scene.memory.may_expire == []


def test_each_turn_of_the_loop_puts_the_end_of_a_process_that_hangs_off(scene: Scene) -> None:
    """One that owns nothing turns too."""
    scene.ingester._hear(Revoked(frozenset({PARTITION})))
    before = scene.ingester._pulse._stepped_at = scene.ingester._pulse._stepped_at - 100.0
    scene.ingester._turn([])

    assert scene.ingester._pulse._stepped_at >= before + 100.0


@pytest.mark.parametrize(("rests", "taken"), [(False, 1), (True, 3)])
def test_a_turn_waits_for_more_reports_while_the_dispatcher_rests(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, rests: bool, taken: int
) -> None:
    monkeypatch.setattr(Ingester, "outstanding", 6)
    scene.ingester._dispatcher.rests_until = time.monotonic() + 60.0 if rests else 0.0
    for _ in range(5):
        scene.ingester._inbox.put(Woken("base", "order.placed", 1, 0.1))

    assert len(scene.ingester._wait()) == taken
