from __future__ import annotations

from dataclasses import replace

import pytest

from kaufmann_celery.ledger import FIRST, Claimed, Past, Raised
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending
from tests.unit.ledger_in_memory import (
    InMemory,
    adopting,
    claim,
    event,
    fetch,
    handler,
    offsets_of,
    owned_by,
    record,
    running,
    take,
)


@pytest.fixture
def memory() -> InMemory:
    return InMemory()


@pytest.fixture
def owned(memory: InMemory) -> OwnedPartition:
    return owned_by(memory)


class TestReading:
    def test_records_come_in_their_order_and_stay_until_they_are_taken(self, owned: OwnedPartition) -> None:
        fetch(owned, 3, 4, 9)

        assert take(owned, 2) == [3, 4]
        assert take(owned, 0) == []
        assert take(owned, 5) == [9]
        assert owned.watermark.committed("history") == Committed(3, 2, (), "history")

    def test_a_record_nobody_decided_on_comes_again(self, owned: OwnedPartition) -> None:
        fetch(owned, 3)

        assert [next(owned.records()).offset for _ in range(2)] == [3, 3]

    def test_what_the_position_has_passed_does_not_come_again(self, owned: OwnedPartition) -> None:
        fetch(owned, 3, 4)
        take(owned, 2)
        fetch(owned, 3, 4, 5)

        assert take(owned, 9) == [5]

    def test_finished_ones_are_passed_over(self, memory: InMemory) -> None:
        memory.model.incarnation, memory.model.marks = "history", {7}
        owned = owned_by(memory, Committed(3, 6, (3, 5), "history"))
        fetch(owned, 2, 3, 4, 5, 6, 7, 8)

        assert take(owned, 9) == [3, 5, 8]
        assert owned.watermark.committed("history") == Committed(3, 7, (3, 5), "history")
        assert owned.finished_early == set()

    def test_a_skipped_record_is_finished(self, owned: OwnedPartition) -> None:
        fetch(owned, 3, 4)
        for _ in owned.records():
            owned.skip()

        assert owned.watermark.safe_offset == 5
        assert owned.uncommitted == 2

    def test_a_gap_longer_than_the_window_keeps_nothing_back_where_nothing_is_unfinished(
        self, owned: OwnedPartition
    ) -> None:
        fetch(owned, 3, 50_003)
        assert owned.watermark.is_within(50_003, 10_000)
        take(owned, 1)

        assert not owned.watermark.is_within(50_003, 10_000)

    def test_the_position_moves_over_offsets_without_records_once_all_before_are_looked_at(
        self, owned: OwnedPartition
    ) -> None:
        fetch(owned, 3, position=9)
        take(owned, 0)
        assert owned.watermark.position == 0
        take(owned, 1)
        assert owned.watermark.position == 9

    def test_reading_ahead_is_bounded_but_for_adopted_claims(self, memory: InMemory, owned: OwnedPartition) -> None:
        assert owned.wants_records(100)
        assert not owned.wants_records(10_000)
        assert adopting(memory, 90_000).wants_records(80_000)

    @pytest.mark.parametrize(("size", "most"), [(1000, 523), (100_000, 5), (2**21, 1)])
    def test_of_large_records_fewer_are_read_ahead_but_the_next_one_always(
        self, owned: OwnedPartition, size: int, most: int
    ) -> None:
        owned.read([replace(record(0), value=bytes(size))], 1)

        assert owned.wants_records(most - 1)
        assert not owned.wants_records(most)

    def test_the_window_counts_from_the_lowest_unfinished_event(self, owned: OwnedPartition) -> None:
        running(owned, 10, 11)
        owned.finish(11)

        assert owned.watermark.is_within(14, 5)
        assert not owned.watermark.is_within(15, 5)


class TestOutstanding:
    def test_each_event_holds_one_slot_from_decoded_to_finished(self, memory: InMemory) -> None:
        owned = adopting(memory, 1, 2)
        counts = [owned.outstanding]
        fetch(owned, 1, 3)
        take(owned, 9)
        counts.append(owned.outstanding)
        claim(owned)
        counts.append(owned.outstanding)
        for offset in (1, 2, 3):
            owned.finish(offset)
            counts.append(owned.outstanding)

        assert counts == [2, 3, 3, 2, 1, 0]
        assert not owned.is_awaited

    @pytest.mark.parametrize(("holds", "outstanding"), [(False, 1), (True, 2)])
    def test_what_waits_for_its_retry_holds_its_slot_where_order_asks_for_it(
        self, memory: InMemory, *, holds: bool, outstanding: int
    ) -> None:
        owned = owned_by(memory, waiting_holds=holds)
        running(owned, 1, 2)[0].waiting = True

        assert owned.outstanding == outstanding


def told(offset: int, state: str, *, d: int = 2, deaths: int = 1, leased: bool = False, due_in_ms: int = 0) -> Claimed:
    return Claimed(offset, state, Past(d, deaths), leased=leased, due_in_ms=due_in_ms)


class TestClaimed:
    @pytest.mark.parametrize(
        ("known", "ready", "waiting", "leased", "d"),
        [
            (None, True, False, False, 1),
            (told(3, "claimed"), True, False, False, 2),
            (told(3, "claimed", leased=True), False, False, True, 2),
            (told(3, "claimed", due_in_ms=50), False, True, False, 2),
            (told(3, "claimed", due_in_ms=50, leased=True), False, False, True, 2),
            (told(3, "outcome", d=0, deaths=0), False, False, False, 1),
        ],
    )
    def test_the_ledger_says_whether_it_is_to_run_now(
        self, owned: OwnedPartition, known: Claimed | None, *, ready: bool, waiting: bool, leased: bool, d: int
    ) -> None:
        pending = delivered(owned)
        owned.claimed(pending, known)

        assert owned.pending == {3: pending}
        assert (pending in owned.ready, pending.waiting, pending.leased, pending.past.d) == (ready, waiting, leased, d)
        assert pending.reported == (known is not None and known.state == "outcome")

    def test_what_is_finished_is_not_pending(self, owned: OwnedPartition) -> None:
        owned.claimed(delivered(owned), told(3, "finished"))

        assert (owned.pending, list(owned.ready)) == ({}, [])
        assert owned.watermark.safe_offset == 4


def delivered(owned: OwnedPartition) -> Pending:
    fetch(owned, 3)
    take(owned, 1)
    return owned.decoded.popleft()


class TestFound:
    @pytest.mark.parametrize(
        ("known", "is_to_run"),
        [
            (None, True),
            (told(3, "claimed"), True),
            (told(3, "claimed", leased=True), False),
            (told(3, "claimed", due_in_ms=50), False),
            (told(3, "outcome"), False),
            (told(3, "finished"), False),
        ],
    )
    def test_only_what_neither_runs_nor_ran_nor_is_due_later_is_to_run(
        self, owned: OwnedPartition, known: Claimed | None, *, is_to_run: bool
    ) -> None:
        (pending,) = running(owned, 3)

        assert owned.found(pending, known) == is_to_run
        assert pending.reported == (known is not None and known.state == "outcome")
        assert pending.leased == (known is not None and known.leased)
        assert (3 in owned.pending) == (known is None or known.state != "finished")

    def test_a_claim_that_was_forgotten_begins_again_at_number_one(self, owned: OwnedPartition) -> None:
        (pending,) = running(owned, 3)
        pending.past, pending.waiting, pending.leased = Past(4, 2), True, True

        assert owned.found(pending, None)
        assert (pending.past, pending.waiting, pending.leased) == (FIRST, False, False)

    def test_what_waits_for_its_retry_here_is_not_to_run(self, owned: OwnedPartition) -> None:
        (pending,) = running(owned, 3)
        pending.waiting = True

        assert not owned.found(pending, told(3, "claimed"))


class TestRaised:
    def test_a_run_that_ended_frees_its_event_for_the_next(self, owned: OwnedPartition) -> None:
        (pending,) = running(owned, 3)
        pending.sent(1.0, 1)
        pending.leased = True

        assert owned.raised(Raised(3, Past(2, 1), 0, "died")) is pending
        assert (pending.past, pending.leased, pending.copies, pending.sent_at) == (Past(2, 1), False, 0, None)
        assert pending.goes_alone

    def test_what_is_old_or_not_here_changes_nothing(self, owned: OwnedPartition) -> None:
        (pending,) = running(owned, 3)
        pending.past = Past(3)

        assert owned.raised(Raised(3, Past(2, 1), 0, "died")) is None
        assert owned.raised(Raised(4, Past(2, 1), 0, "died")) is None
        assert pending.past == Past(3)


class TestLanes:
    def read(self, owned: OwnedPartition, *lanes: str | None) -> list[Pending]:
        """Deliver one event for each lane, from offset 0 on."""
        fetch(owned, *range(len(lanes)))
        events = [in_lane(offset, lane) for offset, lane in enumerate(lanes)]
        for one, _ in zip(events, owned.records(), strict=False):
            owned.deliver(one)
        return events

    def test_what_waits_for_its_lane_is_not_claimed_and_holds_no_slot(self, owned: OwnedPartition) -> None:
        first, second, other = self.read(owned, "a", "b", None)
        claim(owned)
        for one in (first, second, other):
            one.sent(0.0, 1)
        fetch(owned, 3)
        owned.records().__next__()

        assert not owned.deliver(in_lane(3, "a"))
        claim(owned)
        assert (owned.outstanding, sorted(owned.pending), owned.parked) == (3, [0, 1, 2], {3})

    def test_it_is_claimed_once_a_slot_is_free(self, owned: OwnedPartition) -> None:
        first, second = self.read(owned, "a", "a")
        assert offsets_of(owned.decoded) == [0, 1], "they may share a task"
        owned.decoded.clear()
        second.parked = True
        owned.parked.add(1)
        owned.pending[0] = first
        owned.finish(0)

        assert owned.take_freed(0) == 0
        assert owned.take_freed(1) == 1
        assert (offsets_of(owned.decoded), owned.parked) == ([1], set())

    def test_one_that_was_settled_meanwhile_is_not_claimed_again(self, owned: OwnedPartition) -> None:
        first, second = self.read(owned, "a", "a")
        claim(owned)
        first.sent(0.0, 1)
        second.parked = True
        owned.finish(0)
        owned.finish(1)

        assert owned.take_freed(5) == 0
        assert (list(owned.decoded), list(owned.ready)) == ([], [first, second])

    def test_adopted_events_of_an_unordered_past_do_not_take_the_slots_of_those_before_them(
        self, memory: InMemory
    ) -> None:
        owned = adopting(memory, 2)
        first, second, adopted = self.read(owned, "a", "a", "a")
        owned.decoded.remove(second)
        second.parked = True
        owned.parked.add(1)
        first.sent(0.0, 1)
        claim(owned)
        adopted.parked = True
        owned.finish(0)

        assert owned.take_freed(0) == 1
        assert offsets_of(owned.decoded) == [1]

    def test_one_that_holds_a_slot_does_not_wait_behind_one_of_another_lane_that_has_none(
        self, owned: OwnedPartition
    ) -> None:
        first, second, other, last = self.read(owned, "a", "a", "b", "b")
        owned.decoded.remove(second)
        owned.parked.add(1)
        claim(owned)
        first.sent(0.0, 1)
        other.sent(0.0, 2)
        owned.ready.clear()
        second.parked = last.parked = True
        owned.finish(0)
        owned.finish(2)

        assert owned.take_freed(0) == 0
        assert offsets_of(owned.ready) == [3]
        assert owned.take_freed(1) == 1

    def test_one_that_came_late_goes_before_those_of_its_lane_that_were_freed_already(self, memory: InMemory) -> None:
        owned = adopting(memory, 0)
        late, first = self.read(owned, "a", "a")
        owned.decoded.remove(first)
        owned.parked.add(1)
        claim(owned)
        owned.ready.clear()
        owned.lanes.freed.extend([first, late])

        assert owned.take_freed(0) == 0
        assert offsets_of(owned.ready) == [0]


PLACED = handler()


def in_lane(offset: int, lane: str | None) -> Pending:
    pending = event(offset, of=PLACED)
    pending.decoded = replace(pending.decoded, lane=lane)
    return pending
