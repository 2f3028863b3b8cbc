from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors as kafka_errors

from kaufmann_celery.kafka_io.reach import Reach, look_for


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def consumer(coordinator: str | None) -> Any:
    return SimpleNamespace(_coordinator=SimpleNamespace(coordinator_id=coordinator))


def passes(one: Reach, clock: Clock, coordinator: str | None, *, seconds: float) -> None:
    for _ in range(int(seconds * 10)):
        clock.now += 0.1
        one.passed(consumer(coordinator))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_coordinator_that_moves_is_no_outage(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    one = Reach(["localhost:9092"], clock)
    for _ in range(3):
        passes(one, clock, None, seconds=2)
        passes(one, clock, "1", seconds=1)

    assert said(caplog) == []


def test_a_group_that_loses_its_coordinator_is_told_and_so_is_its_return(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    one = Reach(["localhost:9092"], clock)
    passes(one, clock, "1", seconds=10)
    passes(one, clock, None, seconds=14)
    passes(one, clock, "1", seconds=5)

    lost = "Kafka does not answer (the consumer group has no coordinator); waiting; check brokers: localhost:9092"
    # 3 s late, then after 1, 2 and 4 s.
    assert said(caplog) == [lost] * 4 + ["Kafka answers again after 11 s"]


def test_the_time_before_the_first_answer_is_told_once(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    one = Reach(["localhost:9092"], clock)
    one.failed(kafka_errors.KafkaTimeoutError())
    clock.now += 30
    passes(one, clock, None, seconds=1)
    passes(one, clock, "1", seconds=1)

    assert said(caplog) == [
        "Kafka does not answer (KafkaTimeoutError); waiting; check brokers: localhost:9092",
        "Kafka answers again after 31 s",
    ]


def test_a_topic_that_is_missing_is_named(caplog: pytest.LogCaptureFixture) -> None:
    known = {"orders": {0, 1}}

    look_for(SimpleNamespace(partitions_for_topic=known.get), ["orders", "ordres"])

    assert said(caplog) == ["topic ordres is not there yet; it is read as soon as it is, unless its name is wrong"]


def test_what_does_not_pass_by_itself_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(kafka_errors.GroupAuthorizationFailedError):
        Reach(["localhost:9092"]).failed(kafka_errors.GroupAuthorizationFailedError())

    assert said(caplog) == []
