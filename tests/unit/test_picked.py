from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from kafka import TopicPartition

from kaufmann_celery.app import Kaufmann
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.operations.picked import Picked, Picks
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.messages import Fetched
from kaufmann_celery.partitions.pending import GoneRecord
from tests.unit.ledger_in_memory import InMemory, owned_by

A, B = TopicPartition("orders", 0), TopicPartition("orders", 1)


@dataclass
class Scene:
    """Picks of partition A, each record's timestamp being its offset."""

    offsets: Collection[int]
    went_to: list[tuple[TopicPartition, int]] = field(default_factory=list)
    finished: list[Collection[int]] = field(default_factory=list)
    is_away: bool = False

    def __post_init__(self) -> None:
        picks: Picks = {A: {offset: offset for offset in self.offsets}}
        self.picked = Picked(Kaufmann("orders").config, picks, finished=self._finish)
        self.picked.start(lambda where, offset: self.went_to.append((where, offset)))

    def _finish(self, _where: TopicPartition, offsets: Collection[int]) -> None:
        if self.is_away:
            raise UnavailableError
        self.finished.append(sorted(offsets))

    def cut(self, *offsets: int, position: int, where: TopicPartition = A) -> tuple[list[int], int]:
        records = [GoneRecord("orders", where.partition, offset, timestamp=offset) for offset in offsets]
        taken = self.picked.cut(Fetched(where, records, position))
        return [one.offset for one in taken.records], taken.position

    def is_committed(self, committed: Committed) -> bool:
        owned = owned_by(InMemory(), committed)
        return self.picked.is_committed({A: owned})


def test_only_what_was_picked_is_taken_and_reading_goes_on_to_the_next() -> None:
    scene = Scene([3, 5, 9])

    assert scene.cut(2, 3, 4, position=5) == ([3], 5)
    assert scene.cut(5, 6, position=7) == ([5], 9)
    assert scene.cut(8, 9, 10, position=11) == ([9], 10)
    assert not scene.picked.gone[A]
    assert scene.went_to == []


def test_a_long_way_is_not_read() -> None:
    scene = Scene([3, 5000])

    assert scene.cut(3, 4, position=5) == ([3], 5000)
    assert scene.cut(5, 6, position=7) == ([], 5000)
    assert scene.went_to == [(A, 5000)]


def test_what_is_passed_without_its_record_is_gone() -> None:
    scene = Scene([3, 5, 9])

    assert scene.cut(4, 6, position=7) == ([], 9)
    assert scene.picked.gone[A] == {3, 5}
    assert scene.cut(position=12) == ([], 10)
    assert scene.picked.gone[A] == {3, 5, 9}


def test_another_record_at_the_same_place_is_not_the_one_that_failed() -> None:
    scene = Scene([3])
    records = [GoneRecord("orders", 0, 3, timestamp=99)]

    assert scene.picked.cut(Fetched(A, records, 4)) == Fetched(A, [], 4)
    assert scene.picked.gone[A] == {3}


def test_a_partition_of_which_nothing_was_picked_is_not_read() -> None:
    scene = Scene([3])

    assert scene.cut(3, position=4, where=B) == ([], 0)
    assert not scene.picked.wants(B, 0)
    assert scene.picked.wants(A, 3)
    assert not scene.picked.wants(A, 4)


def test_what_a_commit_holds_is_told_once_and_what_is_gone_is_not() -> None:
    scene = Scene([3, 5, 9])
    scene.cut(3, position=4)
    scene.cut(9, position=10)

    assert not scene.is_committed(Committed(3, 2))
    assert not scene.is_committed(Committed(4, 3))
    assert not scene.is_committed(Committed(4, 3))
    assert scene.is_committed(Committed(10, 9))
    assert scene.finished == [[], [3], [3, 9]]
    assert scene.picked.is_done


def test_who_cannot_be_told_is_told_later() -> None:
    scene = Scene([3])
    scene.cut(3, position=4)
    scene.is_away = True

    assert not scene.is_committed(Committed(4, 3))
    scene.is_away = False
    assert scene.is_committed(Committed(4, 3))
    assert scene.finished == [[3]]


@pytest.mark.parametrize("position", [9, 10])
def test_a_commit_in_the_middle_holds_what_is_finished_above_it(position: int) -> None:
    scene = Scene([3, 9])
    scene.cut(3, 9, position=position)
    scene.is_committed(Committed(3, 9, (3,)))

    assert scene.finished == [[9]]
