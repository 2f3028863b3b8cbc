"""What a replay knows of those before it: by its notes, and by what Kafka holds for its group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kafka import TopicPartition

from kaufmann_celery.app import Kaufmann
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io.group_offsets import KafkaView
from kaufmann_celery.ledger.replayed import Replay, Replays
from kaufmann_celery.operations.replay_notes import ReplayNotes
from kaufmann_celery.partitions.commit_metadata import Committed

A = TopicPartition("orders", 0)


class InMemory(Replays):
    """Keeps in a dict what Redis would."""

    def __init__(self) -> None:
        self.kept: dict[str, dict[int, Replay]] = {}

    def of(self, bases: Iterable[str]) -> list[dict[int, Replay]]:
        return [dict(self.kept.get(base, {})) for base in bases]

    def note(self, base: str, replays: Mapping[int, Replay]) -> None:
        self.kept.setdefault(base, {}).update(replays)

    def forget(self, base: str, offsets: Sequence[int]) -> None:
        for offset in offsets:
            self.kept[base].pop(offset, None)


def notes(kept: InMemory, committed: Committed | None = None, **view: Any) -> ReplayNotes:
    commits = {} if committed is None else {A: committed}
    whole = {"firsts": {A: 10}, "ends": {A: 100}, "commits": commits, **view}
    shown = KafkaView("cluster", "Empty", (), {"orders": "uuid"}, (), **whole)
    return ReplayNotes(Kaufmann("orders").config, shown, kept)


def at(offset: int) -> Position:
    return Position("orders", 0, offset)


def test_what_was_asked_for_is_begun_until_it_is_done() -> None:
    kept = InMemory()
    one = notes(kept)
    one.ask({A: {20: 1000, 30: 2000}})

    assert notes(kept).begun() == [at(20), at(30)]
    one.done(A, [20])
    one.done(A, [20, 77])
    assert notes(kept).begun() == [at(30)]
    found = notes(kept).of(at(20))
    assert found is not None
    assert (found.timestamp_ms, found.times, found.is_done) == (1000, 1, True)
    assert notes(kept).of(at(77)) is None


def test_asking_again_is_counted() -> None:
    kept = InMemory()
    for _ in range(3):
        one = notes(kept)
        one.ask({A: {20: 1000}})
        one.done(A, [20])

    found = notes(kept).of(at(20))
    assert found is not None
    assert (found.times, found.is_done) == (3, True)


def test_what_kafka_holds_is_done_though_nobody_noted_it() -> None:
    kept = InMemory()
    notes(kept).ask({A: {20: 1, 30: 1, 40: 1}})
    later = notes(kept, Committed(30, 40, (30,)))

    assert later.begun() == [at(30)]
    assert [found and found.is_done for found in map(later.of, map(at, (20, 30, 40)))] == [True, False, True]
    # Once the group is moved Kafka says nothing of them any more.
    later.settle()
    assert notes(kept, Committed(10, 9)).begun() == [at(30)]


def test_what_is_gone_is_forgotten() -> None:
    kept = InMemory()
    one = notes(kept)
    one.ask({A: {20: 1, 30: 1}})
    one.forget({A: {20}})

    assert notes(kept).begun() == [at(30)]


def test_a_record_is_there_between_the_first_and_the_end() -> None:
    one = notes(InMemory())

    assert [one.is_there(at(offset)) for offset in (9, 10, 99, 100)] == [False, True, True, False]
    assert not one.is_there(Position("elsewhere", 0, 50))
