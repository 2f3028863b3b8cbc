from __future__ import annotations

from collections.abc import Iterable

from kaufmann_celery.ledger.reading import Claim, LedgerView
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.group_status import GroupStatus, PartitionStatus, blocking_offset, finished_above


def ledger(*, claims: Iterable[int] = (), outcomes: Iterable[int] = (), marks: Iterable[int] = ()) -> LedgerView:
    return LedgerView(
        generation=1,
        member="member",
        incarnation="i",
        claims={offset: Claim(1, 0, 5.0) for offset in claims},
        leased=frozenset(),
        outcomes=frozenset(outcomes),
        marks=frozenset(marks),
        waiting={},
    )


def partition(*, committed: int | None, first: int = 0, end: int = 10) -> PartitionStatus:
    return PartitionStatus(
        topic="orders",
        partition=0,
        owner=None,
        committed=committed,
        first=first,
        end=end,
        outstanding=0,
        running=0,
        waiting_for_retry=0,
        finished_above=0,
    )


def test_the_lowest_claim_or_outcome_blocks() -> None:
    committed = Committed(3, 7, (3, 5), "i")

    assert blocking_offset(committed, ledger(claims=[9, 5], outcomes=[3])) == 3
    assert blocking_offset(committed, ledger(claims=[9, 5], marks=[3])) == 5


def test_what_the_commit_holds_as_finished_blocks_nothing() -> None:
    assert blocking_offset(Committed(3, 7, (3, 5), "i"), ledger(claims=[4, 5])) == 5


def test_without_a_ledger_the_commit_says_what_blocks() -> None:
    assert blocking_offset(Committed(3, 7, (3, 5), "i"), ledger()) == 3
    assert blocking_offset(Committed(3, 2, (), "i"), ledger()) is None
    assert blocking_offset(None, ledger()) is None


def test_finished_above_counts_the_commit_and_the_marks_since() -> None:
    committed = Committed(3, 7, (3, 5), "i")

    # By the commit 4, 6 and 7; by marks 5 and 9; 4 is in both.
    assert finished_above(committed, ledger(claims=[3], marks=[4, 5, 9]), 3) == 5
    assert finished_above(committed, ledger(claims=[5], marks=[3]), 5) == 2
    assert finished_above(committed, ledger(), None) == 0


def test_lag_counts_from_the_first_record_that_is_still_there() -> None:
    assert partition(committed=4).lag == 6
    assert partition(committed=None, first=2).lag == 8
    assert partition(committed=1, first=2).lag == 8
    assert partition(committed=11).lag == 0


def test_the_lag_of_a_group_is_that_of_its_partitions_together() -> None:
    assert GroupStatus("g", "Stable", True, (partition(committed=4), partition(committed=9))).lag == 7
