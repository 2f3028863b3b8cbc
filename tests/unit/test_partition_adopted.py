"""A partition whose predecessor left claims and outcomes behind."""

from __future__ import annotations

import pytest

from kaufmann_celery.errors import DecodeError
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.unit.ledger_in_memory import InMemory, adopting, claim, event, fetch, offsets_of, take


@pytest.fixture
def memory() -> InMemory:
    return InMemory()


def test_they_come_though_there_is_no_room_and_others_are_held(memory: InMemory) -> None:
    owned = adopting(memory, 6)
    fetch(owned, 3, 4, 5, 6, 7)

    assert take(owned, 0) == [6]
    assert offsets_of(owned.held) == [3, 4, 5, 7]
    claim(owned)
    assert take(owned, 0) == []
    assert take(owned, 1) == [3]
    assert take(owned, 9) == [4, 5, 7]
    assert owned.watermark.unfinished == 5


def test_they_come_from_a_later_fetch_before_what_is_held(memory: InMemory) -> None:
    owned = adopting(memory, 6)
    fetch(owned, 3, 4)
    assert take(owned, 0) == []
    fetch(owned, 5, 6, 7)

    assert take(owned, 0) == [6]
    assert take(owned, 1) == [3]
    assert offsets_of(owned.held) == [4, 5]
    assert take(owned, 9) == [4, 5, 7]


def test_thousands_that_are_held_keep_no_adopted_one_waiting(memory: InMemory) -> None:
    owned = adopting(memory, 9_000)
    fetch(owned, *range(8_000))
    take(owned, 0)
    fetch(owned, 9_000)
    first = next(owned.records())

    assert first.offset == 9_000


def test_a_finished_record_is_passed_over_while_others_are_held(memory: InMemory) -> None:
    memory.model.marks = {5}
    owned = adopting(memory, 6)
    fetch(owned, 3)
    take(owned, 0)
    fetch(owned, 4, 5, 6)
    take(owned, 0)

    assert offsets_of(owned.held) == [3, 4]
    assert owned.watermark.is_finished(5)
    assert not owned.watermark.is_finished(3)


def test_those_whose_records_are_gone_are_told_once_the_position_passed_them(memory: InMemory) -> None:
    owned = adopting(memory, 3, 5, outcomes=[6])
    fetch(owned, 4, position=5)
    take(owned, 9)
    assert owned.passed() == [3]
    fetch(owned, 7)
    take(owned, 9)
    assert owned.passed() == [3, 5, 6]


def test_no_commit_covers_one_whose_record_is_gone_before_it_is_settled(memory: InMemory) -> None:
    """The next owner would drop its outcome, for Kafka says that it is finished."""
    owned = adopting(memory, 3, leases=[3])
    fetch(owned, 4, position=9)
    take(owned, 9)
    claim(owned)
    owned.finish(4)

    assert owned.watermark.committed("history") == Committed(3, 4, (3,), "history")
    assert not owned.is_finished(3)
    owned.finish(3)
    assert owned.watermark.safe_offset == 9


def test_one_that_was_read_is_not_told_as_gone(memory: InMemory) -> None:
    owned = adopting(memory, 3)
    fetch(owned, 3)
    take(owned, 0)

    assert owned.passed() == []


def test_one_settled_before_its_record_came_is_passed_over(memory: InMemory) -> None:
    owned = adopting(memory, 3, 4)
    owned.finish(4)
    fetch(owned, 3, 4)

    assert owned.is_finished(4)
    assert take(owned, 9) == [3]
    assert owned.finished_early == set()


def test_one_settled_before_it_was_claimed_again_is_not_claimed(memory: InMemory) -> None:
    """Its mark may go with the next commit; then it would run a second time."""
    owned = adopting(memory, 3)
    fetch(owned, 3)
    take(owned, 0)
    owned.finish(3)

    assert not owned.decoded
    assert owned.outstanding == 0


def test_one_that_no_handler_wants_any_more_is_finished_unless_it_runs_or_ran(memory: InMemory) -> None:
    owned = adopting(memory, 3, 4, outcomes=[5], leases=[4])
    fetch(owned, 3, 4, 5)
    for _ in owned.records():
        owned.skip()
    assert owned.watermark.safe_offset == 3
    owned.decoded.extend(event(offset, error=DecodeError()) for offset in owned.passed())
    claim(owned)

    assert [owned.is_finished(offset) for offset in (3, 4, 5)] == [True, False, False]
    assert (sorted(owned.pending), owned.adopted) == ([4, 5], set())
