"""Rounds in transactions: what is committed with them, what a failure leaves, and who is to blame for a refusal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
from kafka import errors as kafka_errors

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import PublishError, UnavailableError
from kaufmann_celery.kafka_io.transaction import ResultUnknown, fence
from kaufmann_celery.outputs.outcome import HANDLED
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.unit.delivery_scene import Scene
from tests.unit.kafka_in_memory import KafkaInMemory


@pytest.fixture
def kafka() -> Iterator[KafkaInMemory]:
    with KafkaInMemory().connected() as one:
        yield one


def test_a_round_commits_what_holds_once_it_is_finished(kafka: KafkaInMemory) -> None:
    scene = Scene(kafka, "exactly_once")

    assert scene.deliver(0, 1, 3) == []
    assert kafka.records == [b"0", b"1", b"3"]
    assert scene.committed == [Committed(2, 3, (2,), "history")]
    assert scene.owned.committed == scene.owned.forgettable == scene.committed[0]
    assert scene.owned.uncommitted == 0
    assert (kafka.group.group_id, kafka.group.generation_id, kafka.group.member_id) == ("orders", 1, "m")


def test_what_publishes_nothing_has_no_transaction_and_goes_with_the_next(kafka: KafkaInMemory) -> None:
    scene = Scene(kafka, "exactly_once")

    assert scene.deliver(0, outcome=HANDLED) == []
    assert scene.finished == [0]
    assert kafka.commits == []
    scene.deliver(2)
    assert scene.committed == [Committed(1, 2, (1,), "history")]


def test_what_is_finished_is_committed_without_records_when_it_is_due(kafka: KafkaInMemory) -> None:
    scene = Scene(kafka, "exactly_once")
    scene.deliver(0, outcome=HANDLED)
    scene.commit()
    scene.commit()

    assert scene.committed == [Committed(1, 0, (), "history")]
    assert kafka.records == []


@pytest.mark.parametrize("early", [False, True], ids=["at-its-end", "at-once"])
@pytest.mark.parametrize("refused", [{0}, {4}, {1, 2}, {0, 1, 2, 3, 4}])
def test_who_is_refused_for_good_is_found_and_the_others_are_published_once(
    kafka: KafkaInMemory, refused: set[int], early: bool
) -> None:
    scene = Scene(kafka, "exactly_once")
    kafka.refuses_early = early
    kafka.refused = {str(offset).encode() for offset in refused}

    assert set(scene.deliver(0, 1, 2, 3, 4)) == refused
    others = {0, 1, 2, 3, 4} - refused
    assert sorted(scene.finished) == sorted(others)
    assert sorted(kafka.records) == sorted(str(offset).encode() for offset in others)  # type: ignore[type-var] # values
    assert not any(commit.holds(offset) for commit in scene.committed for offset in refused)
    held = [{offset for offset in range(5) if commit.holds(offset)} for commit in scene.committed]
    assert all(earlier <= later for earlier, later in pairwise(held))


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("init", kafka_errors.KafkaTimeoutError()),
        ("offsets", kafka_errors.CommitFailedError()),
        ("offsets", kafka_errors.ProducerFencedError()),
        ("offsets", None),
        ("send", kafka_errors.KafkaTimeoutError()),
        ("send", kafka_errors.InvalidProducerEpochError()),
    ],
)
def test_what_fails_before_the_commit_is_as_before_and_the_producer_is_gone(
    kafka: KafkaInMemory, step: str, error: BaseException | None
) -> None:
    scene = Scene(kafka, "exactly_once")
    kafka.faults[step] = error
    with pytest.raises(UnavailableError) as raised:
        scene.deliver(0, 1)

    assert not isinstance(raised.value, ResultUnknown)
    assert scene.reread == []
    assert scene.finished == []
    assert kafka.producers[-1].closed
    kafka.faults.clear()
    scene.deliver(0, 1)
    assert kafka.records == [b"0", b"1"]
    assert [one.transactional_id for one in kafka.producers] == ["orders.life"] * 2


@pytest.mark.parametrize("error", [None, kafka_errors.ProducerFencedError(), RuntimeError()])
def test_after_an_unknown_result_the_partitions_are_read_again(
    kafka: KafkaInMemory, error: BaseException | None
) -> None:
    scene = Scene(kafka, "exactly_once")
    kafka.faults["commit"] = error
    with pytest.raises(ResultUnknown):
        scene.deliver(0, 1)

    assert scene.reread == [scene.owned]
    assert scene.finished == []
    assert kafka.producers[-1].closed


@pytest.mark.parametrize(
    "error", [kafka_errors.GroupAuthorizationFailedError(), kafka_errors.TransactionalIdAuthorizationFailedError()]
)
@pytest.mark.parametrize("step", ["init", "offsets"])
def test_a_service_that_may_not_write_in_transactions_is_told_so_and_no_event_fails(
    kafka: KafkaInMemory, step: str, error: BaseException
) -> None:
    scene = Scene(kafka, "exactly_once")
    kafka.faults[step] = error
    with pytest.raises(PublishError, match="AuthorizationFailedError"):
        scene.deliver(0, 1)


def test_a_kafka_that_takes_offsets_of_a_member_that_has_left_is_not_used(kafka: KafkaInMemory) -> None:
    kafka.version = (2, 4)
    with pytest.raises(PublishError, match=r"needs Kafka 2\.5"):
        Scene(kafka, "exactly_once").delivery.prepare()


def test_fencing_ends_the_transactions_of_an_id_and_leaves_no_producer(kafka: KafkaInMemory) -> None:
    fence(load_config("orders", keywords={}, conf={}, environ={}), "orders.other")

    assert [(one.transactional_id, one.closed) for one in kafka.producers] == [("orders.other", True)]


def test_after_a_transaction_it_rests_for_as_long_as_that_is_worth(kafka: KafkaInMemory) -> None:
    scene = Scene(kafka, "exactly_once")
    assert scene.delivery.rest_until == 0.0
    scene.deliver(0)

    assert 0.0 < scene.delivery.rest_until <= time.monotonic() + 0.03
