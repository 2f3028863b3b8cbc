"""Records out, to topics that change after they were looked at, and to those that take only some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from types import MappingProxyType

import pytest
from kafka import TopicPartition

from kaufmann_celery.config import Config, load_config
from kaufmann_celery.errors import RefusedForGood, UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io.kafka_out import KafkaOut
from kaufmann_celery.kafka_io.transaction import Transactions
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.integration.kafka_topics import Bystander
from tests.integration.service_process import eventually, unique

Publish = Callable[[Sequence[OutRecord]], list[Position | RefusedForGood]]


@pytest.fixture
def kafka(stack: dict[str, str]) -> Iterator[Bystander]:
    with Bystander(stack["KAUFMANN_BROKERS"], "read_committed") as one:
        yield one


@pytest.fixture
def topic(kafka: Bystander) -> str:
    return kafka.create(unique("out"), 2)


@pytest.fixture
def config(stack: dict[str, str]) -> Config:
    return load_config("orders", keywords={"brokers": stack["KAUFMANN_BROKERS"]}, conf={}, environ={})


@pytest.fixture
def out(config: Config) -> Iterator[KafkaOut]:
    with closing(KafkaOut(config)) as one:
        yield one


@pytest.fixture(params=["plainly", "in-transactions"])
def publish(request: pytest.FixtureRequest, config: Config, out: KafkaOut, topic: str) -> Iterator[Publish]:
    if request.param == "plainly":
        yield out.publish
        return
    commits = {TopicPartition(topic, 0): Committed(0, -1, (), "history")}
    with closing(Transactions(config, out, unique("orders"))) as transactions:
        yield lambda records: transactions.commit(records, commits, generation=-1, member="")


def test_a_partition_that_its_topic_has_got_since_is_written_to(kafka: Bystander, publish: Publish, topic: str) -> None:
    """The producer asks for its topics every 15 s."""
    late = OutRecord(topic, b"key", b"late", partition=3)
    publish([OutRecord(topic, b"key", b"early", partition=1)])
    assert isinstance(publish([late])[0], RefusedForGood)
    kafka.grow(topic, 4)

    eventually(lambda: publish([late]) == [Position(topic, 3, 0)], "it is believed to be there", 5.0)


def test_a_topic_that_is_made_anew_with_fewer_partitions_is_written_to(
    kafka: Bystander, config: Config, topic: str
) -> None:
    """The producer knows sooner than we do."""
    record = OutRecord(topic, b"key", b"value", spread=1)
    options = MappingProxyType({"metadata_max_age_ms": 200})
    with closing(KafkaOut(replace(config, kafka_options=options))) as out:
        out.publish([record])
        kafka.create_anew(topic, 1)
        producer = out._producers._idle[0].client()
        eventually(lambda: producer.partitions_for(topic) == {0}, "its producer knows")

        def is_there() -> bool:
            with suppress(UnavailableError):
                return out.publish([record]) == [Position(topic, 0, 0)]
            return False

        eventually(is_there, "it is there", 15.0)


def test_kafkas_own_topics_are_refused(kafka: Bystander, out: KafkaOut) -> None:
    """A consumed event may name the topic of its replies."""
    record = OutRecord("__consumer_offsets", b"key", b"value")
    kafka.commits(unique("group"))

    eventually(lambda: "Kafka's own" in str(out.refusal(record)), "the topic is there")
    (refused,) = out.publish([record])
    assert isinstance(refused, RefusedForGood)


def test_a_record_that_is_refused_is_found_among_those_of_its_batch(kafka: Bystander, publish: Publish) -> None:
    compacted = kafka.create(unique("compacted"), 1, cleanup_policy="compact")
    keys = (b"first", None, b"third")
    answers = publish([OutRecord(compacted, key, b"value") for key in keys])

    assert isinstance(answers[1], RefusedForGood)
    written = [one.key for one in kafka.read(compacted)]
    assert written == [key for key, answer in zip(keys, answers, strict=True) if isinstance(answer, Position)]
    # In a transaction it is all or nothing: the others are tried again without it.
    assert written in ([], [b"first", b"third"])


def test_a_topic_that_takes_less_than_a_batch_gets_all_in_their_order(kafka: Bystander, publish: Publish) -> None:
    small = kafka.create(unique("small"), 1, max_message_bytes=10_000)
    values = [b"%04d" % number + b"x" * 1000 for number in range(300)]
    answers = publish([OutRecord(small, b"key", value, partition=0) for value in values])

    assert [one.value for one in kafka.read(small)] == values
    assert not any(isinstance(answer, RefusedForGood) for answer in answers)
