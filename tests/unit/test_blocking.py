from __future__ import annotations

import logging

import pytest

from kaufmann_celery.partitions.blocking import Blocking
from kaufmann_celery.partitions.owned import OwnedPartition
from tests.unit.ledger_in_memory import InMemory, fetch, owned_by, running


@pytest.fixture
def owned() -> OwnedPartition:
    """A partition whose offset 3 is stuck, and 4 and 5 are finished."""
    one = owned_by(InMemory())
    running(one, 3, 4, 5)
    for offset in (4, 5):
        one.finish(offset)
    return one


@pytest.fixture
def blocking(caplog: pytest.LogCaptureFixture) -> Blocking:
    caplog.set_level(logging.WARNING, "kaufmann_celery")
    return Blocking(max_window=3)


def said_at(caplog: pytest.LogCaptureFixture, blocking: Blocking, owned: OwnedPartition, *times: float) -> list[float]:
    """Look at each of *times*; return those at which something was said."""
    said = []
    for now in times:
        caplog.clear()
        blocking.look(owned, now)
        if caplog.records:
            said.append(now)
    return said


def test_the_stuck_event_is_named_once_it_has_stopped_intake_for_a_while(
    blocking: Blocking, owned: OwnedPartition, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(owned, 6)
    blocking.look(owned, 0.0)
    assert caplog.messages == []
    blocking.look(owned, 5.0)

    assert caplog.messages == [
        "order.placed at orders:0:3 holds back its partition (sent to the workers): "
        "nothing new is taken, for max_window (3) is reached"
    ]


def test_it_is_said_again_after_twice_the_time_each(
    blocking: Blocking, owned: OwnedPartition, caplog: pytest.LogCaptureFixture
) -> None:
    fetch(owned, 6)

    assert said_at(caplog, blocking, owned, *range(400)) == [5, 65, 185]


def test_each_event_that_blocks_has_its_own_patience(
    blocking: Blocking, owned: OwnedPartition, caplog: pytest.LogCaptureFixture
) -> None:
    running(owned, 6, 7)
    fetch(owned, 9)
    assert said_at(caplog, blocking, owned, 0, 4) == []
    owned.finish(3)
    assert said_at(caplog, blocking, owned, 6, 10) == []
    assert said_at(caplog, blocking, owned, 11) == [11]
    assert "orders:0:6 " in caplog.text


def test_nothing_is_said_while_there_is_room(
    blocking: Blocking, owned: OwnedPartition, caplog: pytest.LogCaptureFixture
) -> None:
    assert said_at(caplog, blocking, owned, 0, 1000) == []
    fetch(owned, 6)
    owned.finish(3)
    assert said_at(caplog, blocking, owned, 2000, 3000) == []


def test_where_an_end_is_waited_for_what_holds_it_back_is_named_too(
    blocking: Blocking, owned: OwnedPartition, caplog: pytest.LogCaptureFixture
) -> None:
    blocking.look(owned, 0.0, end=6)
    blocking.look(owned, 6.0, end=6)
    assert caplog.messages == ["order.placed at orders:0:3 holds back its partition (sent to the workers): waiting"]
    owned.finish(3)
    blocking.look(owned, 100.0, end=6)
    blocking.look(owned, 200.0, end=6)
    assert len(caplog.messages) == 1


@pytest.mark.parametrize(
    ("attribute", "state"),
    [("leased", "a worker runs it"), ("waiting", "waits for its retry"), ("reported", "handled, and its outputs")],
)
def test_what_the_event_waits_for_is_said(
    blocking: Blocking, owned: OwnedPartition, caplog: pytest.LogCaptureFixture, attribute: str, state: str
) -> None:
    setattr(owned.pending[3], attribute, True)
    blocking.look(owned, 0.0, end=6)
    blocking.look(owned, 6.0, end=6)

    assert state in caplog.text
