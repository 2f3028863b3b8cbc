from __future__ import annotations

import pytest

from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.turns import Turns
from tests.unit.ledger_in_memory import InMemory, event, owned_by


def partitions(count: int) -> list[OwnedPartition]:
    return [owned_by(InMemory()) for _ in range(count)]


def with_a_task(turns: Turns, *some: OwnedPartition, now: float = 100.0) -> None:
    for owned in some:
        owned.pending[3] = event(3)
        turns.sent(owned, now)


def rooms(
    turns: Turns, all_of_them: list[OwnedPartition], *, now: float = 100.1, enough: int | None, slots: int = 1000
) -> list[int]:
    """Return what each may take, in the order of the turn, where it takes all of that."""
    ordered = turns.begin(all_of_them, now, enough)
    found = []
    for owned in ordered:
        found.append(turns.room(owned, slots))
        if found[-1]:
            turns.had(owned)
    return found


@pytest.fixture
def turns() -> Turns:
    return Turns(has_lanes=True)


@pytest.mark.parametrize("has_lanes", [False, True])
def test_whoever_had_its_turn_longest_ago_comes_first(has_lanes: bool) -> None:
    turns, three = Turns(has_lanes=has_lanes), partitions(3)
    for one in (2, 0, 1, 0):
        turns.had(three[one])

    assert turns.begin(three, 100.0, 1) == turns.order(three) == [three[2], three[1], three[0]]


def test_whoever_did_not_have_its_turn_comes_first_again(turns: Turns) -> None:
    """Slots may come free in every other round."""
    three = partitions(3)
    firsts = []
    for number in range(6):
        ordered = turns.begin(three, 100.0, 1)
        if number % 2:
            turns.had(ordered[0])
            firsts.append(ordered[0])
    assert firsts == three


def test_without_lanes_each_takes_what_there_is() -> None:
    turns, three = Turns(has_lanes=False), partitions(3)
    with_a_task(turns, *three)
    assert rooms(turns, three, enough=1) == [1000] * 3


def test_where_handlers_are_slow_each_takes_what_there_is(turns: Turns) -> None:
    three = partitions(3)
    with_a_task(turns, three[1])
    assert rooms(turns, three, enough=None) == [1000] * 3
    assert rooms(turns, three, enough=1) == [200, 200, 0]


def test_one_that_has_a_task_waits_for_it_while_others_keep_the_workers_busy(turns: Turns) -> None:
    three = partitions(3)
    with_a_task(turns, *three)
    assert rooms(turns, three, enough=3) == [0] * 3


def test_one_that_has_a_task_takes_more_where_too_few_have_one(turns: Turns) -> None:
    three = partitions(3)
    with_a_task(turns, *three)
    assert rooms(turns, three, enough=4) == [1000] * 3


def test_those_without_a_task_come_first_and_fill_one_each(turns: Turns) -> None:
    three = partitions(3)
    with_a_task(turns, three[0])
    assert rooms(turns, three, enough=3) == [200, 200, 0]


def test_those_without_a_task_that_take_nothing_keep_no_worker_busy(turns: Turns) -> None:
    three = partitions(3)
    with_a_task(turns, three[0])
    turns.begin(three, 100.1, 3)
    assert turns.room(three[0], 1000) == 1000


def test_one_waits_a_moment_and_not_for_an_event_that_takes_long_or_waits_for_its_retry(turns: Turns) -> None:
    three = partitions(3)
    with_a_task(turns, *three, now=100.0)
    assert rooms(turns, three, now=100.2, enough=1) == [0] * 3
    assert rooms(turns, three, now=100.3, enough=1) == [200] * 3


def test_one_whose_task_is_settled_does_not_wait(turns: Turns) -> None:
    three = partitions(3)
    with_a_task(turns, *three)
    three[1].pending.clear()
    assert rooms(turns, three, enough=1) == [200, 0, 0]
