"""How kafka-python's consumer is read from, with one in memory."""

from __future__ import annotations

from inspect import getsource
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.consumer.fetcher import Fetcher

from kaufmann_celery.kafka_io.fetching import Fetching

ORDERS, BILLS = TopicPartition("orders", 0), TopicPartition("bills", 0)


class Consumer:
    """Gives what it is told to, poll after poll."""

    def __init__(self, wait_ms: int = 100) -> None:
        self.config = {"fetch_max_wait_ms": wait_ms}
        self._fetcher = SimpleNamespace(config=dict(self.config), _next_partition_records=None)
        self._coordinator = SimpleNamespace(
            coordinator_id=1, _join_task=None, rejoin_needed=False, completed_offset_commits=[]
        )
        self.gives: list[dict[TopicPartition, list[Any]]] = []
        self.waited_ms: list[int] = []
        self.asleep: set[TopicPartition] = set()

    @property
    def waits_at_kafka_ms(self) -> Any:
        return self._fetcher.config["fetch_max_wait_ms"]

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        self.waited_ms.append(timeout_ms)
        return self.gives.pop(0) if self.gives else {}

    def paused(self) -> set[TopicPartition]:
        return set(self.asleep)

    def pause(self, partition: TopicPartition) -> None:
        self.asleep.add(partition)

    def resume(self, partition: TopicPartition) -> None:
        self.asleep.remove(partition)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(s=1000.0)
    monkeypatch.setattr("kaufmann_celery.kafka_io.fetching.time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def test_what_is_there_is_not_waited_for() -> None:
    consumer = Consumer()
    consumer.gives = [{ORDERS: ["a"]}]
    assert Fetching(consumer).poll(0.1) == {ORDERS: ["a"]}
    assert consumer.waited_ms == [0]


def test_a_second_poll_waits_where_the_first_finds_nothing_and_one_may_wait() -> None:
    consumer = Consumer()
    consumer.gives = [{}, {ORDERS: ["a"]}]
    reading = Fetching(consumer)
    assert reading.poll(0.1) == {ORDERS: ["a"]}
    assert reading.poll(0.0) == {}
    assert consumer.waited_ms == [0, 100, 0]


def test_kafka_waits_shortly_while_records_come_and_as_long_as_before_once_none_do(clock: SimpleNamespace) -> None:
    consumer = Consumer()
    reading = Fetching(consumer)
    reading.poll(0.0)
    assert consumer.waits_at_kafka_ms == 100
    consumer.gives = [{ORDERS: ["a"]}]
    reading.poll(0.0)
    assert consumer.waits_at_kafka_ms == 20
    clock.s += 0.9
    reading.poll(0.0)
    assert consumer.waits_at_kafka_ms == 20
    clock.s += 0.2
    reading.poll(0.0)
    assert consumer.waits_at_kafka_ms == 100


def test_a_shorter_wait_of_the_users_stays() -> None:
    consumer = Consumer(wait_ms=5)
    consumer.gives = [{ORDERS: ["a"]}]
    Fetching(consumer).poll(0.0)
    assert consumer.waits_at_kafka_ms == 5


def test_only_what_is_wanted_is_read() -> None:
    consumer = Consumer()
    reading = Fetching(consumer)
    assert reading.choose([(ORDERS, False), (BILLS, True)])
    assert consumer.asleep == {ORDERS}
    assert not reading.choose([(ORDERS, True), (BILLS, True)])
    assert consumer.asleep == set()


def test_a_join_that_a_poll_left_behind_is_taken_up_again() -> None:
    consumer = Consumer()
    reading = Fetching(consumer)
    assert not reading.needs_poll()
    consumer._coordinator._join_task = "joining"
    assert reading.needs_poll()
    reading.poll(0.0)
    assert consumer._coordinator.rejoin_needed


def test_who_does_not_know_its_coordinator_needs_a_poll() -> None:
    consumer = Consumer()
    consumer._coordinator.coordinator_id = None
    assert Fetching(consumer).needs_poll()


def test_the_private_parts_are_kafka_pythons() -> None:
    """What is set here is what kafka-python reads."""
    assert "max_wait_ms=self.config['fetch_max_wait_ms']" in getsource(Fetcher._create_fetch_requests)
    assert "_next_partition_records" in getsource(Fetcher.fetched_records)
