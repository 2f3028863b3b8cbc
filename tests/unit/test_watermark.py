from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kaufmann_celery.partitions.commit_metadata import Committed, parse
from kaufmann_celery.partitions.watermark import Watermark

#: More: `HYPOTHESIS_PROFILE` does not apply; raise `max_examples` here.
MACHINE = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)


def test_without_deliveries_the_position_is_safe() -> None:
    watermark = Watermark(7)

    assert watermark.safe_offset == 7
    assert watermark.committed("i") == Committed(7, 6, (), "i")


def test_the_lowest_unfinished_offset_is_safe_whatever_finished_above() -> None:
    watermark = delivered(0, 10, 11, 20)
    watermark.finish(11)
    watermark.finish(20)

    assert watermark.committed("i") == Committed(10, 20, (10,), "i")


def test_a_gap_needs_no_offset_of_its_own() -> None:
    watermark = delivered(0, 3, 9)
    watermark.finish(3)
    assert watermark.safe_offset == 9
    watermark.finish(9)
    assert watermark.safe_offset == 10
    watermark.advance(15)
    assert watermark.safe_offset == 15


def test_advancing_never_goes_back() -> None:
    watermark = Watermark(7)
    watermark.advance(3)
    assert watermark.position == 7


def test_finishing_twice_or_what_was_not_delivered_says_so() -> None:
    watermark = delivered(0, 3)
    assert watermark.finish(3)
    assert not watermark.finish(3)
    assert not watermark.finish(8)
    assert watermark.is_finished(3)
    assert not watermark.is_finished(8)


def test_delivering_an_offset_again_is_a_fault_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="offset 3 delivered again"):
        delivered(0, 3).deliver(3)


def test_the_window_runs_from_the_lowest_unfinished_to_the_position() -> None:
    watermark = delivered(0, 3, 9)
    assert watermark.window() == 7
    watermark.finish(3)
    assert watermark.window() == 1
    assert watermark.unfinished == 1


@pytest.mark.parametrize("held", [None, Committed(0, 9, (), "i"), Committed(0, 900, (0, 3, 899), "i")])
def test_in_a_small_window_there_is_room_for_all_of_it(held: Committed | None) -> None:
    watermark = Watermark(0, held)
    assert watermark.room(1_000) >= 1_000
    watermark.deliver(0)
    assert watermark.room(1_000) >= 1_000


def test_in_a_large_window_there_is_room_for_as_many_gaps_as_the_metadata_holds() -> None:
    watermark = delivered(*range(0, 400_000, 200))

    assert 0 <= watermark.room(10**6) < 3_000
    assert watermark.room(10**6) < Watermark(0).room(10**6)


def test_a_commit_while_reading_again_keeps_what_the_last_commit_held() -> None:
    """Nobody else knows it: the ledger dropped the marks that the commit covered."""
    held = Committed(10, 500, (10, 200, 300), "i")
    watermark = Watermark(10, held)
    for offset in (10, 11, 12):
        watermark.deliver(offset)
    watermark.finish(11)
    watermark.finish(12)

    assert watermark.committed("i") == Committed(10, 500, (10, 200, 300), "i")
    watermark.finish(10)
    assert watermark.committed("i") == Committed(13, 500, (200, 300), "i")


def test_what_the_last_commit_held_is_forgotten_once_the_position_has_passed_it() -> None:
    watermark = Watermark(10, Committed(10, 12, (10,), "i"))
    for offset in (10, 11, 12):
        watermark.deliver(offset)
        watermark.finish(offset)

    assert watermark.committed("i") == Committed(13, 12, (), "i")


def delivered(start: int, *offsets: int) -> Watermark:
    watermark = Watermark(start)
    for offset in offsets:
        watermark.deliver(offset)
    return watermark


class WatermarkMachine(RuleBasedStateMachine):
    """A partition with gaps, read by one owner after the other, each starting from the last commit."""

    def __init__(self) -> None:
        super().__init__()
        self.existing: list[int] = []
        self.finished: set[int] = set()
        self.kafka = Committed(0, -1, (), "i")
        self.watermark = Watermark(0)
        self.read = 0
        self.last_safe = 0

    @initialize(gaps=st.lists(st.integers(1, 200), min_size=1, max_size=60))
    def fill(self, gaps: list[int]) -> None:
        offset = -1
        for gap in gaps:
            offset += gap
            self.existing.append(offset)

    @precondition(lambda self: self.read < len(self.existing))
    @rule(count=st.integers(1, 10))
    def deliver(self, count: int) -> None:
        for offset in self.existing[self.read : self.read + count]:
            self.watermark.deliver(offset)
            if self.kafka.holds(offset):
                self.watermark.finish(offset)
        self.read = min(len(self.existing), self.read + count)

    @precondition(lambda self: self.open())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offsets = data.draw(st.sets(st.sampled_from(self.open()), min_size=1))
        foreseen = self.watermark.committed("i", offsets)
        assert all(self.watermark.finish(offset) for offset in offsets)
        assert self.watermark.committed("i") == foreseen
        self.finished |= offsets

    @rule(beyond=st.integers(0, 50))
    def advance(self, beyond: int) -> None:
        following = self.existing[self.read] if self.read < len(self.existing) else self.watermark.position + beyond
        self.watermark.advance(min(following, self.watermark.position + beyond))

    @rule()
    def commit_and_be_followed_by_another_owner(self) -> None:
        committed = self.watermark.committed("i")
        read_back = parse(committed.offset, committed.metadata())
        assert read_back == committed
        self.kafka = read_back
        self.watermark = Watermark(read_back.offset, read_back)
        self.read = sum(offset < read_back.offset for offset in self.existing)

    @invariant()
    def the_safe_offset_never_goes_back_and_never_passes_an_unfinished_one(self) -> None:
        safe = self.watermark.safe_offset
        assert safe >= self.last_safe
        assert all(offset in self.finished for offset in self.existing if offset < safe)
        self.last_safe = safe

    @invariant()
    def a_commit_holds_exactly_what_is_finished(self) -> None:
        committed = self.watermark.committed("i")
        for offset in self.existing:
            assert committed.holds(offset) == (offset in self.finished), offset

    @invariant()
    def the_metadata_fits_its_bound(self) -> None:
        assert body_size(self.watermark.committed("i")) <= self.watermark.metadata_size()

    def open(self) -> list[int]:
        return [offset for offset in self.existing[: self.read] if self.watermark.is_unfinished(offset)]


def body_size(committed: Committed) -> int:
    return len(committed.metadata().rpartition(".")[2]) * 3 // 4


WatermarkMachine.TestCase.settings = MACHINE
TestWatermarkMachine = WatermarkMachine.TestCase
