from __future__ import annotations

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
        self.topic_id: str | None = "topic"
        self._client = SimpleNamespace(cluster=SimpleNamespace(topic_id=lambda _: self.topic_id))

    def committed(self, *_: Any, **__: Any) -> OffsetAndMetadata | None:
        return self.kept

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
