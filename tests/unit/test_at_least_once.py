"""Rounds without transactions: what waits for what, and what is sent again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import errors as kafka_errors

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.kafka_io import at_least_once
from kaufmann_celery.outputs.outcome import HANDLED, Outcome
from tests.unit.delivery_scene import Scene, outcome_of
from tests.unit.kafka_in_memory import KafkaInMemory
from tests.unit.ledger_in_memory import PARTITION, InMemory, owned_by


@pytest.fixture
def kafka() -> Iterator[KafkaInMemory]:
    with KafkaInMemory().connected() as one:
        yield one


@pytest.fixture
def scene(kafka: KafkaInMemory) -> Scene:
    return Scene(kafka, "at_least_once")


def test_what_is_not_acknowledged_holds_up_nothing_and_is_not_sent_again(kafka: KafkaInMemory, scene: Scene) -> None:
    kafka.stuck = {b"1"}
    scene.deliver(0, 1, 2)
    assert scene.finished == [0, 2]
    assert scene.delivery.is_behind
    scene.deliver(1, 3)
    assert scene.finished == [0, 2, 3]
    kafka.stuck.clear()
    scene.deliver()
    assert scene.finished == [0, 2, 3, 1]
    assert kafka.sent == [b"0", b"1", b"2", b"3"]
    assert len(kafka.producers) == 1


def test_an_event_is_finished_once_all_of_its_records_are_acknowledged(kafka: KafkaInMemory, scene: Scene) -> None:
    kafka.stuck = {b"1"}
    outcome = Outcome(outcome_of(0).records + outcome_of(1).records)
    scene.deliver(0, outcome=outcome)
    assert scene.finished == []
    kafka.stuck.clear()
    scene.deliver(0, outcome=outcome)
    assert scene.finished == [0]
    assert kafka.sent == [b"0", b"1"]


def test_what_publishes_nothing_needs_no_producer(kafka: KafkaInMemory, scene: Scene) -> None:
    scene.deliver(0, outcome=HANDLED)
    assert scene.finished == [0]
    assert kafka.producers == []


def test_what_is_never_acknowledged_is_sent_again_without_its_old_producer(
    kafka: KafkaInMemory, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka.stuck = {b"1"}
    scene.deliver(0, 1)
    monkeypatch.setattr(at_least_once, "ACK_TIMEOUT_S", 0.0)
    with pytest.raises(UnavailableError, match="does not acknowledge what is sent to out; "):
        scene.deliver(1, 2)
    assert scene.finished == [0, 2]
    assert kafka.producers[0].closed
    kafka.stuck.clear()
    scene.deliver(1)
    assert scene.finished == [0, 2, 1]
    assert kafka.sent == [b"0", b"1", b"2", b"1"]
    assert not kafka.producers[1].closed


@pytest.mark.parametrize("step", ["hand", "send"])
def test_after_a_fault_all_that_is_under_way_is_sent_again_by_another_producer(
    kafka: KafkaInMemory, scene: Scene, step: str
) -> None:
    kafka.stuck = {b"1"}
    scene.deliver(0, 1)
    kafka.faults[step] = kafka_errors.KafkaTimeoutError()
    with pytest.raises(UnavailableError):
        scene.deliver(1, 2)
    assert scene.finished == [0]
    assert kafka.producers[0].closed
    kafka.faults.clear()
    kafka.stuck.clear()
    scene.deliver(1, 2)
    assert scene.finished == [0, 1, 2]
    assert kafka.records == [b"0", b"1", b"2"]


def test_what_another_owner_publishes_is_not_sent_any_more(kafka: KafkaInMemory, scene: Scene) -> None:
    kafka.stuck = {b"1", b"2"}
    scene.deliver(1, 2)
    scene.partitions[PARTITION] = scene.owned = owned_by(InMemory())
    scene.deliver()
    assert kafka.producers[0].closed
    assert not scene.delivery.is_behind
    kafka.stuck.clear()
    scene.deliver()
    assert (kafka.records, scene.finished) == ([], [])


def test_what_kafka_has_of_a_partition_that_is_let_go_is_finished_and_the_rest_is_sent_no_more(
    kafka: KafkaInMemory, scene: Scene
) -> None:
    kafka.stuck = {b"1", b"2"}
    scene.deliver(0, 1, 2)
    kafka.stuck = {b"2"}
    scene.let_go()
    assert scene.finished == [0, 1]
    scene.partitions.clear()
    scene.deliver()
    assert kafka.producers[0].closed
    assert not scene.delivery.is_behind


def test_what_kafka_refuses_of_a_partition_that_is_let_go_is_left_to_its_next_owner(
    kafka: KafkaInMemory, scene: Scene
) -> None:
    kafka.stuck = {b"1", b"2"}
    scene.deliver(1, 2)
    kafka.stuck, kafka.refused = set(), {b"1"}
    scene.let_go()
    assert scene.finished == []
    scene.partitions.clear()
    scene.deliver()
    assert kafka.producers[0].closed


def test_at_the_end_what_is_under_way_is_sent_no_more(kafka: KafkaInMemory, scene: Scene) -> None:
    kafka.stuck = {b"1"}
    scene.deliver(0, 1)
    scene.delivery.close()
    assert kafka.producers[0].closed


@pytest.mark.parametrize("refused", [{0}, {4}, {1, 2}, {0, 1, 2, 3, 4}])
def test_who_is_refused_for_good_is_found_and_the_others_are_published_once(
    kafka: KafkaInMemory, scene: Scene, refused: set[int]
) -> None:
    kafka.refused = {str(offset).encode() for offset in refused}

    assert set(scene.deliver(0, 1, 2, 3, 4)) == refused
    others = {0, 1, 2, 3, 4} - refused
    assert sorted(scene.finished) == sorted(others)
    assert sorted(kafka.records) == sorted(str(offset).encode() for offset in others)  # type: ignore[type-var] # values


def test_what_is_under_way_while_another_is_refused_is_sent_again(kafka: KafkaInMemory, scene: Scene) -> None:
    """After a refusal kafka-python's producer takes nothing any more."""
    kafka.stuck, kafka.refused = {b"1"}, {b"2"}
    assert scene.deliver(0, 1) == []
    assert scene.deliver(2) == [2]
    assert scene.finished == [0]
    kafka.stuck.clear()
    scene.deliver(1)
    assert scene.finished == [0, 1]
    assert kafka.records == [b"0", b"1"]
