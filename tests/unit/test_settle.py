"""Rounds settled over a ledger and a Kafka in memory: what is published, what is published again, what is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kafka import errors as kafka_errors

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import DecodeError, UnavailableError
from kaufmann_celery.kafka_io.delivery import delivery
from kaufmann_celery.kafka_io.kafka_out import KafkaOut
from kaufmann_celery.outputs.composing import Composer
from kaufmann_celery.outputs.error_event import ErrorEvents
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.outputs.outcome import HANDLED, Outcome, OutRecord, decode
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.settle import Counts, Settler
from tests.unit import test_avro_reading as registries
from tests.unit.kafka_in_memory import KafkaInMemory, Written
from tests.unit.ledger_in_memory import PARTITION, START, InMemory, claim, event, fetch, owned_by, running, take


class Ingester:
    """One that owns orders:0 by the ledger *memory*, after what Kafka holds as *committed*."""

    def __init__(
        self, kafka: KafkaInMemory, how: str, memory: InMemory | None = None, committed: Committed = START
    ) -> None:
        self.kafka = kafka
        self.memory = memory or InMemory()
        self.owned: OwnedPartition = owned_by(self.memory, committed)
        settings = {"delivery": how, "dead_letter_topic": "dead"}
        config = load_config("orders", keywords=settings, conf={}, environ={})
        transcoders = registries.transcoders_of(registries.InMemory(), config)
        error_events = ErrorEvents(config, Composer(config, transcoders), transcoders.avro)
        out = KafkaOut(config)
        self._delivery = delivery(config, out, "orders.life", {PARTITION: self.owned}, reread=lambda _: None)
        self._settler = Settler(out, self._delivery, Failures(config, error_events), Counts())

    def reports(self, outcomes: dict[int, Outcome]) -> None:
        """Put what workers came to into the ledger."""
        self.memory.model.outcomes |= {offset: one.encode() for offset, one in outcomes.items()}

    def settle(self) -> None:
        """Settle what the ledger holds, as often as there is more to settle."""
        for _ in range(3):
            found = dict(sorted(self.memory.model.outcomes.items()))
            self._settler.settle({self.owned: found}, lambda owned, call: call(owned))

    def settle_nothing(self) -> None:
        """Settle a round in which no ledger has told of an outcome."""
        self._settler.settle({}, lambda owned, call: call(owned))

    def let_go(self) -> None:
        """Let go of the partition, as the loop does when it hears of that."""
        self._settler.let_go({self.owned}, lambda owned, call: call(owned))

    def outcome(self, offset: int) -> Outcome:
        """Return what the ledger says became of an event."""
        return decode(self.memory.model.outcomes[offset])

    @property
    def finished(self) -> set[int]:
        """Events with a mark."""
        return self.memory.model.marks


def outcome_of(number: int, **record: Any) -> Outcome:
    return Outcome((record_of(number, **record),))


def record_of(number: int, **record: Any) -> OutRecord:
    given = {"topic": "out", "key": b"key", "headers": (("a", b"1"), ("a", b"2")), "timestamp_ms": 1000 + number}
    return OutRecord(**{**given, "value": str(number).encode(), "spread": number, **record})


@pytest.fixture
def kafka() -> Iterator[KafkaInMemory]:
    with KafkaInMemory().connected() as one:
        yield one


@pytest.fixture(params=["at_least_once", "exactly_once"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ingester(kafka: KafkaInMemory, how: str) -> Ingester:
    """Events 0 to 4 run."""
    one = Ingester(kafka, how)
    running(one.owned, *range(5))
    return one


def published(kafka: KafkaInMemory) -> list[int]:
    return [int(value or b"") for value in kafka.records]


# Rule 14: nothing is published for what Kafka, or a mark, holds as finished; what is published again is the same.


def test_what_kafka_holds_as_finished_is_not_published_when_redis_brings_its_outcome_back(
    kafka: KafkaInMemory, how: str
) -> None:
    one = Ingester(kafka, how, committed=Committed(2, 5, (2, 4), "history"))
    fetch(one.owned, 1, 2, 3, 4, 5, 6)
    take(one.owned, 10)
    claim(one.owned)
    one.reports({offset: outcome_of(offset) for offset in range(7)})
    one.settle()

    assert published(kafka) == [2, 4, 6]
    # It goes out of the ledger all the same.
    assert one.memory.model.outcomes == {}


def test_what_has_a_mark_is_not_published_when_redis_brings_its_outcome_back(kafka: KafkaInMemory, how: str) -> None:
    memory = InMemory()
    memory.model.incarnation, memory.model.marks = "history", {1, 3}
    one = Ingester(kafka, how, memory)
    fetch(one.owned, *range(5))
    take(one.owned, 10)
    claim(one.owned)
    one.reports({offset: outcome_of(offset) for offset in range(5)})
    one.settle()

    assert published(kafka) == [0, 2, 4]


def test_what_was_settled_is_not_published_when_redis_brings_its_outcome_back(
    kafka: KafkaInMemory, ingester: Ingester
) -> None:
    ingester.reports({1: outcome_of(1)})
    ingester.settle()
    ingester.memory.model.marks.clear()
    ingester.reports({1: outcome_of(1), 2: outcome_of(2)})
    ingester.settle()

    assert published(kafka) == [1, 2]


def test_a_predecessors_outcome_waits_until_its_record_is_read_again(kafka: KafkaInMemory, how: str) -> None:
    """No commit could say before that it is finished."""
    memory = InMemory()
    memory.model.incarnation = "history"
    memory.model.outcomes = {3: outcome_of(3).encode()}
    one = Ingester(kafka, how, memory)
    one.settle()
    assert published(kafka) == []
    fetch(one.owned, *range(5))
    take(one.owned, 10)
    claim(one.owned)
    one.settle()

    assert published(kafka) == [3]


def test_what_kafka_acknowledges_late_is_not_published_by_the_next_owner(kafka: KafkaInMemory) -> None:
    """Kafka stands still for longer than a session: it has the records, and the partition goes."""
    first = unacknowledged(kafka, 1, 2)
    kafka.stuck = {b"2"}
    first.let_go()
    assert first.memory.model.marks == {1}
    kafka.stuck = set()
    next_owner_settles(first)

    assert published(kafka) == [1, 2]


def test_the_ledger_hears_at_once_of_what_kafka_acknowledges_after_its_round(kafka: KafkaInMemory) -> None:
    one = unacknowledged(kafka, 1)
    kafka.stuck = set()
    one.settle_nothing()

    assert one.memory.model.marks == {1}


def test_where_redis_is_away_when_a_partition_goes_the_next_owner_publishes_again(kafka: KafkaInMemory) -> None:
    first = unacknowledged(kafka, 1)
    kafka.stuck, first.memory.away = set(), True
    first.let_go()
    first.memory.away = False
    next_owner_settles(first)

    assert published(kafka) == [1, 1]


def unacknowledged(kafka: KafkaInMemory, *offsets: int) -> Ingester:
    """Return an ingester that has settled a round of events, whose records Kafka has not acknowledged within it."""
    one = Ingester(kafka, "at_least_once")
    running(one.owned, *range(5))
    one.reports({offset: outcome_of(offset) for offset in offsets})
    kafka.stuck = {str(offset).encode() for offset in offsets}
    one.settle()
    return one


def next_owner_settles(first: Ingester) -> None:
    second = Ingester(first.kafka, "at_least_once", first.memory)
    fetch(second.owned, *range(5))
    take(second.owned, 10)
    claim(second.owned)
    second.settle()


@pytest.mark.parametrize(
    "outcome",
    [
        outcome_of(7),
        outcome_of(7, partition=2, key=None, value=None),
        Outcome((record_of(7), record_of(6, topic="other"))),
        Outcome((record_of(8, kind="error"),), "ValueError", "as asked", 2),
    ],
    ids=["spread", "partition", "two", "error"],
)
def test_what_is_published_again_is_byte_for_byte_the_same(kafka: KafkaInMemory, outcome: Outcome) -> None:
    """The ingester is killed after it published, before the ledger heard of it; its successor publishes it again."""
    first = Ingester(kafka, "at_least_once")
    running(first.owned, *range(5))
    first.reports({1: outcome})
    before = first.memory.model.copy()
    first.settle()
    once = list(kafka.written)
    second = Ingester(kafka, "at_least_once", InMemory(before))
    fetch(second.owned, *range(5))
    take(second.owned, 10)
    claim(second.owned)
    second.settle()

    assert once == [as_written(record) for record in outcome.records]
    assert kafka.written == once * 2


def test_a_transaction_that_is_tried_again_holds_the_same(kafka: KafkaInMemory) -> None:
    one = Ingester(kafka, "exactly_once")
    running(one.owned, *range(5))
    outcome = outcome_of(7)
    one.reports({1: outcome})
    kafka.faults["offsets"] = kafka_errors.KafkaTimeoutError()
    with pytest.raises(UnavailableError):
        one.settle()
    kafka.faults.clear()
    one.settle()

    assert kafka.written == [as_written(record) for record in outcome.records]


def test_a_dead_letter_that_is_published_again_is_byte_for_byte_the_same(kafka: KafkaInMemory) -> None:
    """It is not in the ledger, but made of the record."""
    outcome = Outcome((record_of(8, kind="error"),), "DecodeError", "left-over bytes", 1)
    letters = []
    for _ in range(2):
        one = Ingester(kafka, "at_least_once")
        fetch(one.owned, 0)
        for _record in one.owned.records():
            one.owned.deliver(event(0, error=DecodeError("left-over bytes")))
        claim(one.owned)
        one.reports({0: outcome})
        one.settle()
        letters += [written for written in kafka.written if written.topic == "dead"]
        kafka.written.clear()

    assert letters == letters[:1] * 2
    assert letters[0].value == b"value"


def as_written(record: OutRecord) -> Written:
    partition = record.spread % 4 if record.partition is None else record.partition
    return Written(record.topic, partition, record.key, record.value, record.headers, record.timestamp_ms)


# Rule 15: what Kafka refuses for good becomes that event's failure; what may pass waits.

_FOR_GOOD = [
    kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError,
    kafka_errors.TopicAuthorizationFailedError, kafka_errors.InvalidTopicError, kafka_errors.InvalidRecordError,
    kafka_errors.InvalidTimestampError, kafka_errors.PolicyViolationError,
]  # fmt: skip
_PASSING = [
    kafka_errors.KafkaTimeoutError, kafka_errors.KafkaConnectionError, kafka_errors.NotEnoughReplicasError,
    kafka_errors.NotLeaderForPartitionError, kafka_errors.RequestTimedOutError, kafka_errors.KafkaStorageError,
    kafka_errors.UnknownTopicOrPartitionError, kafka_errors.OutOfOrderSequenceNumberError,
    kafka_errors.UnknownError, kafka_errors.CorruptRecordError,
]  # fmt: skip


@pytest.mark.parametrize("error", _FOR_GOOD)
@pytest.mark.parametrize("refused", [{0}, {4}, {1, 2}, {0, 1, 2, 3, 4}], ids=str)
def test_what_is_refused_for_good_fails_its_event_and_the_others_are_published_once(
    kafka: KafkaInMemory, ingester: Ingester, refused: set[int], error: type[kafka_errors.KafkaError]
) -> None:
    kafka.refused, kafka.refusal = {str(offset).encode() for offset in refused}, error()
    ingester.reports({offset: outcome_of(offset) for offset in range(5)})
    ingester.settle()

    others = {0, 1, 2, 3, 4} - refused
    assert sorted(published(kafka)) == sorted(others)
    assert ingester.finished == others
    assert {offset: reason for offset, (_, reason) in ingester.memory.model.raised.items()} == dict.fromkeys(
        refused, "refused"
    )
    assert {offset for offset, one in ingester.owned.pending.items() if one.failure is not None} == refused
    assert not any(commit[PARTITION].holds(offset) for commit in kafka.commits for offset in refused)


@pytest.mark.parametrize("error", _PASSING)
def test_what_may_pass_waits_and_fails_no_event(
    kafka: KafkaInMemory, ingester: Ingester, error: type[kafka_errors.KafkaError]
) -> None:
    outcomes = {offset: outcome_of(offset) for offset in range(5)}
    ingester.reports(outcomes)
    before = ingester.memory.model.copy()
    kafka.faults["send"] = error()
    for _ in range(3):
        with pytest.raises(UnavailableError):
            ingester.settle()
    assert ingester.memory.model == before
    assert not any(one.failure for one in ingester.owned.pending.values())
    assert published(kafka) == []
    kafka.faults.clear()
    ingester.settle()

    assert sorted(published(kafka)) == [0, 1, 2, 3, 4]
    assert ingester.finished == {0, 1, 2, 3, 4}


def test_of_an_event_that_is_refused_before_it_is_sent_nothing_is_published(
    kafka: KafkaInMemory, ingester: Ingester
) -> None:
    kafka.missing, kafka.most_bytes = {"nowhere"}, 1000
    ingester.reports(
        {
            0: Outcome((record_of(0), record_of(10, topic="nowhere"))),
            1: Outcome((record_of(1), record_of(11, partition=4))),
            2: Outcome((record_of(2), record_of(12, value=b"x" * 1000))),
            3: outcome_of(3),
        }
    )
    ingester.settle()

    assert published(kafka) == [3]
    assert ingester.finished == {3}
    assert sorted(ingester.memory.model.raised) == [0, 1, 2]


@pytest.mark.parametrize("error", [kafka_errors.MessageSizeTooLargeError, kafka_errors.PolicyViolationError])
def test_what_is_refused_of_a_failed_event_is_cut_or_left_out_and_the_event_ends(
    kafka: KafkaInMemory, ingester: Ingester, error: type[kafka_errors.KafkaError]
) -> None:
    large = record_of(0, topic="orders", value=b"x" * 5000, kind="error")
    kafka.refused, kafka.refusal = {large.value or b""}, error()
    ingester.reports({0: Outcome((large, record_of(10)), "ValueError", "as asked", 1), 1: outcome_of(1)})
    ingester.settle()

    assert ingester.finished == {0, 1}
    assert sorted(value for value in kafka.records if value in (b"10", b"1")) == [b"1", b"10"]
    errors = [one for one in kafka.written if one.topic == "orders"]
    # One that is too large loses its payload; what is refused for another reason cannot be mended.
    assert len(errors) == (error is kafka_errors.MessageSizeTooLargeError)
    assert all(len(one.value or b"") < 5000 and one.key == b"event.error.order.placed" for one in errors)


@pytest.mark.parametrize(
    ("records", "at_last"),
    [
        ((record_of(10), record_of(0, topic="later", kind="error")), [0, 1, 10]),
        ((record_of(0, topic="later", kind="error"), record_of(10, topic="gone", kind="error")), [0, 1]),
        ((record_of(0, kind="error"), record_of(10, topic="later", kind="dead_letter")), [0, 1, 10]),
    ],
    ids=["error", "to-several", "dead-letter"],
)
def test_the_last_trace_of_a_failure_waits_until_its_topic_is_there(
    kafka: KafkaInMemory,
    ingester: Ingester,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    records: tuple[OutRecord, ...],
    at_last: list[int],
) -> None:
    monkeypatch.setattr("kaufmann_celery.kafka_io.kafka_out._MISSING_TTL_S", 0.0)
    kafka.missing = {"later", "gone"}
    ingester.reports({0: Outcome(records, "ValueError", "as asked", 1), 1: outcome_of(1)})
    ingester.settle()
    assert published(kafka) == [1]
    assert ingester.finished == {1}
    (said,) = [one.getMessage() for one in caplog.records if one.levelname == "CRITICAL"]
    assert said.startswith("the failure of orders:0:0 waits, and its offset: topic later does not exist; ")

    kafka.missing = {"gone"}
    ingester.settle()
    assert ingester.finished == {0, 1}
    assert sorted(published(kafka)) == at_last


def test_a_callback_topic_that_does_not_exist_holds_nothing_up(kafka: KafkaInMemory, ingester: Ingester) -> None:
    kafka.missing = {"callback"}
    records = (record_of(9, topic="callback", kind="error"), record_of(0, kind="error"))
    ingester.reports({0: Outcome(records, "ValueError", "as asked", 1)})
    ingester.settle()

    assert published(kafka) == [0]
    assert ingester.finished == {0}


def test_an_event_that_emits_nothing_waits_for_nobody(kafka: KafkaInMemory, ingester: Ingester) -> None:
    ingester.reports({0: HANDLED})
    ingester.settle()

    assert ingester.finished == {0}
    assert kafka.producers == []


def test_what_was_published_of_a_refused_failure_is_not_published_again(kafka: KafkaInMemory) -> None:
    """At least once, each record stands for itself."""
    one = Ingester(kafka, "at_least_once")
    running(one.owned, 0)
    kafka.most_bytes = None
    failed = Outcome((record_of(1), replace(record_of(2), kind="error")), "ValueError", "as asked", 1)
    kafka.refused = {b"2"}
    one.reports({0: failed})
    one.settle()

    assert [value for value in kafka.records if value == b"1"] == [b"1"]
    assert one.finished == {0}
