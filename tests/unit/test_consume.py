"""What the consumer's thread commits and lets go around a rebalance, with kafka-python's consumer in memory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.config import load_config
from kaufmann_celery.consume import Consumption, _Listener
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.messages import Assigned, CommitDone, Fetched, Revoked
from kaufmann_celery.partitions.starting_point import StartingPoint
from tests.unit.ledger_in_memory import record

ORDERS = TopicPartition("orders", 0)
SEVEN = Committed(7, 6, (), "history")


class Answered:
    """A commit that Kafka has taken."""

    def __await__(self) -> Iterator[None]:
        return iter(())


class Consumer:
    """Kafka, with no commit yet; in generation 3 of the group."""

    def __init__(self) -> None:
        self.commits: list[Mapping[TopicPartition, OffsetAndMetadata]] = []
        self.at: dict[TopicPartition, int] = {}
        self.generation = 3
        #: What it answers to commits.
        self.refuses: BaseException | None = None
        #: What happens while the commit is read.
        self.meanwhile: Callable[[], None] = lambda: None
        self._client = SimpleNamespace(cluster=SimpleNamespace(topic_id=lambda _: "topic", cluster_id="cluster"))

    def commit_async(self, offsets: Any, callback: Callable[[Any, Any], None] | None = None) -> Answered:
        if self.refuses is None:
            self.commits.append(offsets)
        if callback is not None:
            callback(offsets, self.refuses)
        return Answered()

    def committed(self, *_: Any, **__: Any) -> None:
        self.meanwhile()

    def group_metadata(self) -> Any:
        return SimpleNamespace(generation_id=self.generation, member_id="m")

    def seek(self, partition: TopicPartition, offset: int) -> None:
        self.at[partition] = offset

    def pause(self, _: TopicPartition) -> None:
        """Nothing is fetched here."""

    def resume(self, _: TopicPartition) -> None:
        """Nothing is fetched here."""

    def beginning_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {ORDERS: 5}

    def end_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {ORDERS: 20}


class Scene:
    """One consumer's thread, and the loop that it talks to."""

    def __init__(self) -> None:
        self.consumer, self.settling = Consumer(), threading.Lock()
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        config = load_config("orders", keywords={}, conf={}, environ={})
        self.consumption = Consumption(
            config, ["orders"], self.inbox,
            settling=self.settling, on_revoke=lambda _: {ORDERS: SEVEN}, wants=lambda *_: True, beat=lambda: None,
        )  # fmt: skip
        self.consumption._consumer = self.consumer
        self.consumption._start = StartingPoint(self.consumer, config, self.inbox.put)
        self._listener = _Listener(self.consumption)

    def assigned(self) -> None:
        asyncio.run(self._listener.on_partitions_assigned([ORDERS]))

    def revoked(self) -> None:
        asyncio.run(self._listener.on_partitions_revoked([ORDERS]))

    def lost(self) -> None:
        asyncio.run(self._listener.on_partitions_lost([ORDERS]))

    def heard(self) -> None:
        """Have the loop know of the latest assignment."""
        self.consumption.heard(self.consumption._assigned.latest)

    def carry_out(self) -> None:
        """Do what the loop asked for, as between two polls."""
        self.consumption._requests.carry_out()

    @property
    def told(self) -> list[Any]:
        """What came into the inbox since the last look."""
        return [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]

    @property
    def committed(self) -> list[int]:
        return [commit[ORDERS].offset for commit in self.consumer.commits]


@pytest.fixture
def scene() -> Scene:
    one = Scene()
    one.assigned()
    one.heard()
    return one


def test_what_is_owned_is_committed(scene: Scene) -> None:
    scene.consumption.commit({ORDERS: SEVEN})
    scene.carry_out()

    assert scene.committed == [7]
    assert scene.told == [CommitDone({ORDERS: SEVEN}, None)]


@pytest.mark.parametrize("back", [False, True])
def test_what_was_lost_meanwhile_is_neither_committed_nor_read(scene: Scene, *, back: bool) -> None:
    """Kafka would take it from this generation, whoever owns the partition."""
    scene.consumption.commit({ORDERS: SEVEN})
    scene.consumption.begin(ORDERS, 9)
    scene.lost()
    if back:
        scene.assigned()
    scene.carry_out()

    assert scene.committed == []
    assert scene.told == [Revoked(frozenset({ORDERS})), CommitDone({}, None)]
    assert scene.consumer.at[ORDERS] == 0


def test_what_is_revoked_is_committed_as_it_is_then_and_forgotten(scene: Scene) -> None:
    scene.revoked()
    scene.consumption._hand_over({ORDERS: [record(7)]})

    assert scene.committed == [7]
    assert scene.told == [Revoked(frozenset({ORDERS}))]


def test_while_a_round_is_in_progress_nothing_is_committed_at_a_revoke(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kaufmann_celery.consume._REVOKE_WAIT_S", 0.01)
    with scene.settling:
        scene.revoked()

    assert scene.committed == []
    assert scene.told == [Revoked(frozenset({ORDERS}))]


def test_reading_begins_where_the_loop_says(scene: Scene) -> None:
    scene.consumption.begin(ORDERS, 9)
    scene.carry_out()

    assert scene.consumer.at[ORDERS] == 9
    assert scene.told == [Fetched(ORDERS, [], 9)]


def test_a_commit_that_was_read_before_another_rebalance_is_read_again(scene: Scene) -> None:
    scene.consumer.meanwhile = scene.assigned
    scene.consumption._announce()
    assert scene.told == []
    scene.consumer.meanwhile = lambda: None
    scene.consumption._announce()
    (told,) = scene.told
    assert isinstance(told, Assigned)
    assert (told.generation, told.partitions) == (3, {ORDERS: ("topic", Committed(5, 4))})


def test_a_member_that_kafka_forgot_is_of_no_generation_until_it_has_joined_again(scene: Scene) -> None:
    scene.consumption._announce()
    scene.consumer.generation = -1
    scene.consumption._announce()
    scene.consumer.generation = 5
    scene.consumption._announce()

    assert [one.generation for one in scene.told] == [3, 5]


@pytest.mark.parametrize(
    "away", [kafka_errors.KafkaConnectionError(), kafka_errors.RequestTimedOutError(), kafka_errors.CommitFailedError()]
)
def test_what_a_lost_ledger_held_is_taken_anew_only_once_kafka_has_answered(
    scene: Scene, away: kafka_errors.KafkaError
) -> None:
    """Redis was emptied while Kafka is away: what is finished and not committed stands in memory alone."""
    scene.consumer.refuses = away
    scene.consumption.reopen(ORDERS, SEVEN)
    for _ in range(3):
        scene.carry_out()
        assert scene.told == []
    scene.consumer.refuses = None
    scene.carry_out()

    assert scene.committed == [7]
    assert scene.told == [Revoked(frozenset({ORDERS}))]


def test_what_a_lost_ledger_held_is_forgotten_where_the_partition_goes_meanwhile(scene: Scene) -> None:
    scene.consumer.refuses = kafka_errors.KafkaConnectionError()
    scene.consumption.reopen(ORDERS, SEVEN)
    scene.carry_out()
    scene.lost()
    scene.consumer.refuses = None
    scene.carry_out()

    assert scene.committed == []
    assert not scene.consumption._requests


def test_what_kafka_refuses_for_good_is_not_asked_again(scene: Scene) -> None:
    scene.consumer.refuses = kafka_errors.OffsetMetadataTooLargeError()
    scene.consumption.reopen(ORDERS, SEVEN)
    scene.carry_out()

    assert scene.told == [Revoked(frozenset({ORDERS}))]
    assert not scene.consumption._requests
