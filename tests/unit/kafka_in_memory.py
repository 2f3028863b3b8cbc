"""Kafka as kafka-python's producers show it, in memory: what is written and committed, and what fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest.mock import patch

from kafka import errors as kafka_errors
from kafka.future import Future
from kafka.structs import TopicPartition

from kaufmann_celery.event import Position
from kaufmann_celery.partitions.commit_metadata import Committed, parse


class Written(NamedTuple):
    """A record as it stands in a topic."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int | None


@dataclass
class KafkaInMemory:
    """A cluster in which every topic has 4 partitions."""

    #: What producers were handed outside transactions, in this order.
    sent: list[bytes | None] = field(default_factory=list)
    #: What readers of committed records see, and the group's commits, each one that there ever was.
    written: list[Written] = field(default_factory=list)
    commits: list[Mapping[TopicPartition, Committed]] = field(default_factory=list)
    #: The group as the last offsets named it.
    group: Any = None
    #: Values that are refused for good, as is all else that is sent with them; and why.
    refused: set[bytes] = field(default_factory=set)
    refusal: kafka_errors.KafkaError = field(default_factory=kafka_errors.InvalidRecordError)
    #: Topics that are not there, and how large a record may be.
    missing: set[str] = field(default_factory=set)
    most_bytes: int | None = None
    #: Values that are not acknowledged for now.
    stuck: set[bytes | None] = field(default_factory=set)
    #: Whether it says that one is refused before the next is sent.
    refuses_early: bool = False
    #: What goes wrong, by the step where it does: `init`, `offsets`, `hand` (to the producer), `send`, `commit`.
    faults: dict[str, BaseException | None] = field(default_factory=dict)
    version: tuple[int, ...] = (4, 3)
    producers: list[Producer] = field(default_factory=list)

    @contextmanager
    def connected(self) -> Iterator[KafkaInMemory]:
        """Have kafka-python's clients talk to this one."""
        with (
            patch("kaufmann_celery.kafka_io.producers.KafkaProducer", self._producer),
            patch("kaufmann_celery.kafka_io.kafka_out.KafkaAdminClient", lambda **_: Admin(self)),
            patch("kaufmann_celery.kafka_io.transaction.TRANSACTION_TIMEOUT_S", 0.05),
            patch("kaufmann_celery.kafka_io.at_least_once._ROUND_S", 0.05),
        ):
            yield self

    @property
    def records(self) -> list[bytes | None]:
        """The values that are written."""
        return [one.value for one in self.written]

    def _producer(self, **options: Any) -> Producer:
        self.producers.append(Producer(self, options.get("transactional_id")))
        return self.producers[-1]

    def fail(self, step: str) -> None:
        """Raise what is to go wrong at *step*."""
        if (error := self.faults.get(step)) is not None:
            raise error


class Admin:
    """Says which topics there are."""

    def __init__(self, kafka: KafkaInMemory) -> None:
        self._kafka = kafka

    def describe_topics(self, names: list[str]) -> list[dict[str, Any]]:
        there = [0, 1, 2, 3]
        partitions = [[] if name in self._kafka.missing else there for name in names]
        return [{"error_code": 0, "is_internal": False, "partitions": one} for one in partitions]

    def describe_configs(self, resources: list[Any], **_: Any) -> dict[str, Any]:
        if self._kafka.most_bytes is None:
            return {}
        value = {"max.message.bytes": {"value": str(self._kafka.most_bytes)}}
        return {"topic": {resource.name: value for resource in resources}}


class Result:
    """What kafka-python answers with: fails, or never comes where the error is None."""

    def __init__(self, kafka: KafkaInMemory, step: str, then: Callable[[], None] = lambda: None) -> None:
        self._kafka, self._step, self._then = kafka, step, then

    def wait(self, timeout_ms: float) -> bool:
        assert timeout_ms >= 0
        self._kafka.fail(self._step)
        if self._step in self._kafka.faults:
            return False
        self._then()
        return True


class Sent:
    """A record on its way."""

    def __init__(self, producer: Producer, record: Written) -> None:
        self._producer, self._record = producer, record
        self._is_written = False

    @property
    def is_done(self) -> bool:
        kafka = self._producer.kafka
        answers = self._record.value not in kafka.stuck and kafka.faults.get("send", self) is not None
        return self._is_written or self._producer.closed or answers

    @property
    def value(self) -> Position:
        assert self._is_written
        return Position(self._record.topic, self._record.partition, 7)

    def succeeded(self) -> bool:
        return self._is_written

    def get(self, timeout: float) -> Position:
        assert timeout >= 0
        if not self.is_done:
            raise kafka_errors.KafkaTimeoutError
        if not self._is_written:
            self._write()
        return self.value

    def _write(self) -> None:
        kafka = self._producer.kafka
        if self._producer.closed:
            raise kafka_errors.IllegalStateError
        kafka.fail("send")
        if any(one.value in kafka.refused for one in self._producer.sent):
            raise kafka.refusal
        self._is_written = True
        if self._producer.transactional_id is None:
            kafka.written.append(self._record)


class Producer:
    """One producer; it is its own transaction manager, sender and metadata."""

    def __init__(self, kafka: KafkaInMemory, transactional_id: str | None) -> None:
        self.kafka, self.transactional_id = kafka, transactional_id
        self.config = {"api_version": kafka.version}
        self.sent: list[Written] = []
        self.offsets: Mapping[TopicPartition, Committed] | None = None
        self.closed = False
        self._transaction_manager = self._sender = self._metadata = self
        self.last_error: kafka_errors.KafkaError | None = None

    def init_transactions(self) -> None:
        self.kafka.fail("init")

    def begin_transaction(self) -> None:
        assert self.offsets is None
        assert not self.sent

    def send_offsets_to_transaction(self, offsets: Mapping[TopicPartition, Any], group: Any) -> Result:
        assert not self.sent, "offsets come before records"
        self.offsets = {at: parse(one.offset, one.metadata) for at, one in offsets.items()}
        self.kafka.group = group
        return Result(self.kafka, "offsets")

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]],
        partition: int,
        timestamp_ms: int | None,
    ) -> Sent:
        assert self.transactional_id is None or self.offsets is not None
        self.kafka.fail("hand")
        if self.last_error is not None:
            raise kafka_errors.KafkaError("Cannot perform send", self.last_error)
        record = Written(topic, partition, key, value, tuple(headers), timestamp_ms)
        self.sent.append(record)
        if self.transactional_id is None:
            self.kafka.sent.append(value)
        if self.kafka.refuses_early and value in self.kafka.refused:
            self.last_error = self.kafka.refusal
        return Sent(self, record)

    def begin_commit(self) -> Result:
        return Result(self.kafka, "commit", self._commit)

    def _commit(self) -> None:
        assert self.offsets is not None
        self.kafka.written += self.sent
        self.kafka.commits.append(self.offsets)
        self.sent, self.offsets = [], None

    def request_update(self) -> Future:
        return Future().success(None)

    def wakeup(self) -> None:
        """Nothing waits."""

    def close(self, timeout: float) -> None:
        assert timeout >= 0
        self.closed = True
