from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import errors as kafka_errors
from kafka.future import Future

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import ConfigError, UnavailableError
from kaufmann_celery.kafka_io import producers
from kaufmann_celery.kafka_io.kafka_out import KafkaOut
from kaufmann_celery.outputs.outcome import OutRecord
from tests.unit.kafka_in_memory import KafkaInMemory

RECORD = OutRecord("out", b"key", b"value")


class Knowing:
    """A producer that takes a record once Kafka has told it of the partition, by its third answer."""

    def __init__(self, *, answers: bool = True) -> None:
        self.asked = 0
        self._answers = answers
        self._metadata = SimpleNamespace(request_update=self._ask)
        self._sender = SimpleNamespace(wakeup=lambda: None)

    def _ask(self) -> Future:
        self.asked += 1
        return Future().success(None) if self._answers else Future()

    def send(self, *_: Any, partition: int, **__: Any) -> int:
        if self.asked < 3:
            raise ValueError("Unrecognized partition")
        return partition


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producers, "_HEAR_S", 0.2)


def test_a_partition_that_the_producer_does_not_know_is_asked_for() -> None:
    assert producers.send(Knowing(), RECORD, 7) == 7


def test_where_kafka_does_not_answer_that_is_a_time_out() -> None:
    with pytest.raises(kafka_errors.KafkaTimeoutError, match="Unrecognized partition"):
        producers.send(Knowing(answers=False), RECORD, 7)


@pytest.mark.parametrize("fault", [ValueError("no such codec"), RuntimeError("no library")])
def test_options_that_kafka_python_does_not_take_are_a_fault_of_the_settings(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def refuse(**_: Any) -> None:
        raise fault

    monkeypatch.setattr(producers, "KafkaProducer", refuse)
    with pytest.raises(ConfigError, match="kafka_options: no"):
        producers.connected({})


@pytest.mark.parametrize(
    "error",
    [
        kafka_errors.KafkaTimeoutError("no metadata"), kafka_errors.IllegalStateError("closed"),
        kafka_errors.UnsupportedVersionError(), ValueError("Unrecognized partition"),
    ],
)  # fmt: skip
def test_whatever_send_raises_is_translated(error: Exception) -> None:
    config = load_config("orders", keywords={}, conf={}, environ={})
    with KafkaInMemory(faults={"hand": error}).connected() as kafka, pytest.raises(UnavailableError):
        KafkaOut(config).publish([RECORD])
    assert kafka.producers[-1].closed
