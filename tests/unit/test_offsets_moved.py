"""In which order a group is moved: its ledgers go first."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from kafka import TopicPartition

from kaufmann_celery import Kaufmann
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.kafka_io.group_offsets import KafkaView
from kaufmann_celery.operations import offsets

ORDERS = TopicPartition("orders", 0)


class Reader:
    """Kafka, and a group without members."""

    def __init__(self) -> None:
        self.moved: list[Mapping[TopicPartition, int]] = []

    def view(self) -> KafkaView:
        return KafkaView("cluster", "Empty", (), {"orders": "uuid"}, (), {ORDERS: 0}, {ORDERS: 9}, {})

    def move(self, to: Mapping[TopicPartition, int]) -> None:
        self.moved.append(to)

    def close(self) -> None:
        """Nothing is open."""


def test_kafka_is_not_told_before_the_ledger_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Redis is away nothing is changed."""
    reader = Reader()
    monkeypatch.setattr(offsets, "GroupReader", lambda *_, **__: reader)
    with pytest.raises(UnavailableError):
        offsets.move(Kaufmann("orders", redis_url="redis://127.0.0.1:1"), {ORDERS: 3})

    assert reader.moved == []
