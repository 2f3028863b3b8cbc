from __future__ import annotations

from typing import Any

from kafka import TopicPartition

from kaufmann_celery.app import Kaufmann
from kaufmann_celery.operations.stretch import Stretch
from kaufmann_celery.partitions.messages import Fetched
from tests.unit.ledger_in_memory import record

A, B, OUTSIDE = (TopicPartition("orders", number) for number in range(3))


def stretch(tell: Any = lambda _: None) -> Stretch:
    return Stretch(Kaufmann("orders").config, {A: 2, B: 0}, {A: 5, B: 0}, tell=tell)


def fetched(partition: TopicPartition, *offsets: int, position: int) -> Fetched:
    return Fetched(partition, [record(offset) for offset in offsets], position)


def cut(message: Fetched) -> tuple[list[int], int]:
    taken = stretch().cut(message)
    return [one.offset for one in taken.records], taken.position


def test_what_is_before_the_end_is_taken_as_it_is() -> None:
    assert cut(fetched(A, 2, 3, position=4)) == ([2, 3], 4)
    assert cut(fetched(A, 2, 4, position=5)) == ([2, 4], 5)


def test_nothing_at_the_end_or_behind_it_is_taken() -> None:
    assert cut(fetched(A, 4, 5, 6, position=7)) == ([4], 5)
    assert cut(fetched(A, 9, position=10)) == ([], 5)
    assert cut(fetched(A, position=8)) == ([], 5)
    assert cut(fetched(B, 0, position=1)) == ([], 0)


def test_a_partition_that_was_not_there_in_the_beginning_is_not_read() -> None:
    assert not stretch().wants(OUTSIDE, 0)
    assert cut(fetched(OUTSIDE, 0, 1, position=2)) == ([], 0)


def test_reading_goes_on_up_to_the_end() -> None:
    assert stretch().wants(A, 4)
    assert not stretch().wants(A, 5)
    assert not stretch().wants(B, 0)
