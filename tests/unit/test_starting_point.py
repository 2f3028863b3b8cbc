from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import OffsetAndMetadata, TopicPartition

from kaufmann_celery.config import load_config
from kaufmann_celery.partitions.commit_metadata import Committed, incarnation_of
from kaufmann_celery.partitions.starting_point import StartingPoint

ORDERS = TopicPartition("orders", 0)


class Consumer:
    """Kafka with offsets 5 to 19 of one topic, and the group's commit."""

    def __init__(self, kept: OffsetAndMetadata | None) -> None:
        self.kept = kept
        self.at = 0
        self.topic_id: str | None = "topic"
        self._client = SimpleNamespace(cluster=SimpleNamespace(topic_id=lambda _: self.topic_id))

    def committed(self, *_: Any, **__: Any) -> OffsetAndMetadata | None:
        return self.kept

    def seek(self, _: Any, offset: int) -> None:
        self.at = offset

    def beginning_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {ORDERS: 5}

    def end_offsets(self, _: Any) -> dict[TopicPartition, int]:
        return {ORDERS: 20}


def start_of(consumer: Consumer) -> StartingPoint:
    return StartingPoint(consumer, load_config("orders", keywords={}, conf={}, environ={}), lambda _: None)


def kept(committed: Committed) -> OffsetAndMetadata:
    return OffsetAndMetadata(committed.offset, committed.metadata(), -1)


def test_a_commit_of_this_topic_is_where_it_goes_on() -> None:
    committed = Committed(7, 9, (7,), incarnation_of("topic", "random"))

    assert start_of(Consumer(kept(committed))).of(ORDERS) == ("topic", committed)


def test_a_commit_of_a_topic_that_had_the_name_before_is_none() -> None:
    """It was written by a member that had not heard yet that its topic is no more."""
    committed = Committed(7, 9, (7,), incarnation_of("another", "random"))

    assert start_of(Consumer(kept(committed))).of(ORDERS) == ("topic", Committed(5, 4))


@pytest.mark.parametrize("metadata", ["", "by hand"])
def test_of_a_commit_by_another_tool_only_the_offset_is_known(metadata: str) -> None:
    assert start_of(Consumer(OffsetAndMetadata(7, metadata, -1))).of(ORDERS) == ("topic", Committed(7, 6))


def test_a_topic_made_anew_is_noticed_once_it_is_there(caplog: pytest.LogCaptureFixture) -> None:
    consumer = Consumer(None)
    start = start_of(consumer)
    start.of(ORDERS)
    assert not start.has_moved(ORDERS)
    consumer.topic_id = None
    assert not start.has_moved(ORDERS)
    consumer.topic_id = "another"
    assert start.has_moved(ORDERS)
    start.of(ORDERS)
    assert not start.has_moved(ORDERS)


def test_below_the_first_record_it_goes_on_there_and_says_what_is_gone(caplog: pytest.LogCaptureFixture) -> None:
    consumer = Consumer(None)
    assert start_of(consumer).skip_gap(ORDERS, 2)
    assert consumer.at == 5
    assert said(caplog) == ["retention removed records of orders:0 before they were handled: offsets 2 to 4 are gone"]


@pytest.mark.parametrize(
    ("committed", "left", "reaches"),
    [
        (Committed(30, 29), Committed(20, 19), 30),
        (Committed(30, 40, (30, 31)), Committed(20, 19), 41),
        (Committed(17, 25, (17, 19, 22)), Committed(17, 19, (17, 19)), 26),
    ],
)
def test_of_our_commit_only_what_the_log_still_has_counts(
    caplog: pytest.LogCaptureFixture, committed: Committed, left: Committed, reaches: int
) -> None:
    ours = replace(committed, incarnation=incarnation_of("topic", "random"))

    assert start_of(Consumer(kept(ours))).of(ORDERS) == ("topic", left)
    (line,) = said(caplog)
    assert line.startswith(f"offsets of orders:0 below {reaches} are committed, but its log ends at 20: ")
    assert line.endswith(f"; going on at {left.offset}")


def test_another_tools_commit_beyond_the_end_is_cut_once_kafka_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Until then it may be where the records of open transactions stand."""
    consumer = Consumer(OffsetAndMetadata(30, "", -1))
    start = start_of(consumer)
    assert start.of(ORDERS) == ("topic", Committed(30, 29))
    assert said(caplog) == []
    assert not start.skip_gap(ORDERS, 30)
    assert start.of(ORDERS) == ("topic", Committed(20, 19))
    assert len(said(caplog)) == 1


def test_where_kafka_knows_since_when_records_are_others_these_are_read(caplog: pytest.LogCaptureFixture) -> None:
    """The log has grown beyond the commit again."""
    start = start_of(Consumer(kept(Committed(17, 18, (17,), incarnation_of("topic", "random")))))
    start.cut(ORDERS, OffsetAndMetadata(12, "", 3))

    assert start.of(ORDERS) == ("topic", Committed(12, 11))
    assert len(said(caplog)) == 1


def test_what_kafka_said_of_an_earlier_assignment_is_forgotten() -> None:
    committed = Committed(17, 18, (17,), incarnation_of("topic", "random"))
    start = start_of(Consumer(kept(committed)))
    start.cut(ORDERS, OffsetAndMetadata(12, "", 3))
    start.forget(ORDERS)

    assert start.of(ORDERS) == ("topic", committed)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
