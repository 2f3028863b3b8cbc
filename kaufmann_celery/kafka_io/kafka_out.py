"""Kafka out: records to their partitions, acknowledged by all in-sync replicas; what Kafka knows of their topics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kafka import KafkaAdminClient
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType

from kaufmann_celery.config import Config
from kaufmann_celery.errors import RefusedForGood, UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io import producers
from kaufmann_celery.kafka_io.clients import connected
from kaufmann_celery.kafka_io.options import client_options
from kaufmann_celery.kafka_io.producers import Producer, Producers
from kaufmann_celery.outputs.outcome import OutRecord

#: Seconds for which what is known of a topic is believed, and for which a topic or partition is believed missing.
_COUNT_TTL_S = 30.0
_MISSING_TTL_S = 2.0
#: The topic setting that decides what is too large, and what Kafka counts besides key, value and headers at least.
_MOST_BYTES = "max.message.bytes"
_OVERHEAD_BYTES = 61 + 7
#: Seconds to wait for the acknowledgement of what was sent; then all of it is sent again.
ACK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class _Topic:
    """What is known of a topic, since a moment of the monotonic clock."""

    partitions: int
    #: None where Kafka does not say.
    most_bytes: int | None
    since: float


class KafkaOut:
    """Publishes, and tells what may pass from what never will. Connects at first use.

    `publish` and what asks of topics may be called by any thread; each call of it has a producer to itself. What is
    handed over, and judged later, goes by one producer, and is one thread's.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._producers = Producers(config, wait_s=ACK_TIMEOUT_S)
        self._standing = Producer(config)
        #: Held while Kafka is asked.
        self._lock = threading.Lock()
        self._admin: Any = None
        #: When asking failed last (monotonic seconds), and why.
        self._failed: tuple[float, UnavailableError] | None = None
        self._topics: dict[str, _Topic] = {}

    def publish(self, records: Sequence[OutRecord]) -> list[Position | RefusedForGood]:
        """Send *records*, wait for every acknowledgement, and return in their order where each is, or why not.

        Blocks for up to 30 s. Raises `UnavailableError` where Kafka did not answer: any of them may be there or not.
        """
        with self._producers.lent() as producer, _translated(producer):
            return self._publish(records, producer)

    def hand_over(self, records: Sequence[OutRecord]) -> list[Any]:
        """Hand *records* to the producer and return what `answer` takes, for each. Raises `UnavailableError`."""
        with _translated(self._standing):
            return [self.send(self._standing.client, record) for record in records]

    def judge(
        self, records: Sequence[OutRecord], sent: Sequence[Any], answers: Sequence[Position | RefusedForGood]
    ) -> list[Position | RefusedForGood]:
        """Return *answers* to what was *sent*, where a refusal is for that record alone. Blocks as `publish` does."""
        with _translated(self._standing):
            return self._judged(records, sent, answers, self._standing)

    def refusal(self, record: OutRecord) -> RefusedForGood | None:
        """Return why Kafka would never take *record*, as far as can be known without sending it."""
        try:
            self._partition_of(record)
        except RefusedForGood as error:
            return error
        return None

    @property
    def dropped(self) -> int:
        """How often the producer was dropped: what was handed over before is not on its way any more."""
        return self._standing.dropped

    def drop(self) -> None:
        """Drop the producer: what was handed over and Kafka has not got is not sent any more, or was sent already."""
        self._standing.drop()

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and close; wait at most *timeout_s*."""
        self._standing.drop(timeout_s)
        self._producers.close(timeout_s)
        if self._lock.acquire(timeout=timeout_s):
            try:
                admin, self._admin = self._admin, None
            finally:
                self._lock.release()
            if admin is not None:
                admin.close()

    def _publish(self, records: Sequence[OutRecord], producer: Producer) -> list[Position | RefusedForGood]:
        sent = [self.send(producer.client, record) for record in records]
        deadline = time.monotonic() + ACK_TIMEOUT_S
        return self._judged(records, sent, [acknowledged(one, deadline) for one in sent], producer)

    def _judged(
        self,
        records: Sequence[OutRecord],
        sent: Sequence[Any],
        answers: Sequence[Position | RefusedForGood],
        producer: Producer,
    ) -> list[Position | RefusedForGood]:
        judged = list(answers)
        refused = [
            at
            for at, (one, answer) in enumerate(zip(sent, answers, strict=True))
            if isinstance(answer, RefusedForGood) and one is not answer
        ]
        if refused:
            # kafka-python's idempotent producer never recovers: it answers for everything that it holds, and for all
            # that follows, as for the one record that the broker refused. Ask for fewer, with another producer.
            producer.drop()
        if refused and len(records) > 1:
            middle = len(refused) // 2 if len(refused) == len(records) else len(refused)
            for part in (refused[:middle], refused[middle:]):
                for at, answer in zip(part, self._publish([records[at] for at in part], producer), strict=True):
                    judged[at] = answer
        return judged

    def send(self, producer: Callable[[], Any], record: OutRecord) -> Any:
        """Hand *record* to *producer*, made only where it may go; `acknowledged` says what became of it."""
        try:
            partition = self._partition_of(record)
            return producers.send(producer(), record, partition)
        except RefusedForGood as error:
            return error
        except kafka_errors.MessageSizeTooLargeError as error:
            return _for_good(error, record.topic)
        except kafka_errors.KafkaTimeoutError:
            # It may be another topic by now, or gone.
            self._topics.pop(record.topic, None)
            raise

    def _partition_of(self, record: OutRecord) -> int:
        topic = self._topic(record.topic, record.partition or 0)
        count = topic.partitions
        if not count:
            remedy = "correct its name, create it, or start the ingester that reads it"
            raise RefusedForGood(f"topic {record.topic} does not exist; {remedy}", of_topic=True)
        if topic.most_bytes is not None and record.size + _OVERHEAD_BYTES > topic.most_bytes:
            raise _too_large(record.topic)
        if record.partition is None:
            return record.spread % count
        if not 0 <= record.partition < count:
            raise RefusedForGood(f"topic {record.topic} has {count} partitions, none with number {record.partition}")
        return record.partition

    def _topic(self, name: str, partition: int = 0) -> _Topic:
        """Return what is known of a topic; where it is not known to have *partition*, that is soon asked again.

        One thread asks; those that wait meanwhile share its answer or failure.
        """
        came_at, known = time.monotonic(), self._topics.get(name)
        if known is not None:
            ttl_s = _COUNT_TTL_S if partition < known.partitions else _MISSING_TTL_S
            if came_at < known.since + ttl_s:
                return known
        with self._lock:
            known = self._topics.get(name)
            if known is not None and known.since >= came_at:
                return known
            if self._failed is not None and self._failed[0] >= came_at:
                raise self._failed[1]
            try:
                known = self._topics[name] = self._asked(name)
            except kafka_errors.KafkaError as error:
                away = UnavailableError(f"Kafka does not answer ({type(error).__name__}); check brokers")
                self._failed = (time.monotonic(), away)
                raise away from error
            return known

    def _asked(self, name: str) -> _Topic:
        if self._admin is None:
            self._admin = connected(KafkaAdminClient, client_options(self._config))
        described = self._admin.describe_topics([name])[0]
        _refuse_unwritable(name, described)
        count = len(described["partitions"])
        most_bytes = self._most_bytes(name) if count else None
        return _Topic(count, most_bytes, time.monotonic())

    def _most_bytes(self, name: str) -> int | None:
        """Return how large a record may be; None where Kafka does not say, or compression makes it another."""
        if self._config.kafka_options.get("compression_type"):
            return None
        resource = ConfigResource(ConfigResourceType.TOPIC, name, {_MOST_BYTES: None})
        with suppress(kafka_errors.KafkaError, LookupError):
            found = self._admin.describe_configs([resource], config_filter="all")
            return int(found["topic"][name][_MOST_BYTES]["value"])
        return None


@contextmanager
def _translated(producer: Producer) -> Iterator[None]:
    try:
        yield
    except kafka_errors.KafkaError as error:
        # What it still holds would be sent as well, besides its repetition.
        producer.drop()
        raise UnavailableError(f"Kafka did not acknowledge ({type(error).__name__}); check brokers") from error


def _refuse_unwritable(topic: str, described: Mapping[str, Any]) -> None:
    error = kafka_errors.for_code(described["error_code"])
    if issubclass(error, (kafka_errors.AuthorizationError, kafka_errors.InvalidTopicError)):
        is_forbidden = issubclass(error, kafka_errors.AuthorizationError)
        raise RefusedForGood(f"Kafka refuses topic {topic}: {error.__name__}", of_topic=is_forbidden)
    if described["is_internal"]:
        raise RefusedForGood(f"topic {topic} is Kafka's own")


def answer(sent: Any, deadline: float) -> Position | RefusedForGood | None:
    """Wait for what became of one that was sent; None where nobody knows yet. Raises kafka-python's errors."""
    if isinstance(sent, RefusedForGood):
        return sent
    if not sent.succeeded():
        try:
            sent.get(timeout=max(0.0, deadline - time.monotonic()))
        except kafka_errors.KafkaError as error:
            if not sent.is_done:
                return None
            if not (is_for_good(error) or _is_for_company(error)):
                raise
            return _for_good(error, "its topic")
    metadata = sent.value
    return Position(metadata.topic, metadata.partition, metadata.offset)


def acknowledged(sent: Any, deadline: float) -> Position | RefusedForGood:
    """Wait for what became of one that was sent. Raises kafka-python's errors where it is not refused for good."""
    found = answer(sent, deadline)
    if found is None:
        raise kafka_errors.KafkaTimeoutError("no answer")
    return found


def is_for_good(error: BaseException) -> bool:
    """Return whether Kafka will never take what it answered this for."""
    return isinstance(
        error,
        (
            kafka_errors.MessageSizeTooLargeError,
            kafka_errors.RecordListTooLargeError,
            kafka_errors.AuthorizationError,
            kafka_errors.InvalidTopicError,
            kafka_errors.InvalidRecordError,
            kafka_errors.InvalidTimestampError,
            kafka_errors.PolicyViolationError,
        ),
    )


def _is_for_company(error: BaseException) -> bool:
    """Return whether only another record of the same batch was refused; kafka-python has no class for that."""
    return type(error) is kafka_errors.KafkaError


def _for_good(error: kafka_errors.KafkaError, topic: str) -> RefusedForGood:
    too_large = isinstance(error, (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError))
    if too_large:
        return _too_large(topic)
    return RefusedForGood(f"Kafka refuses the record for {topic}: {type(error).__name__}")


def _too_large(topic: str) -> RefusedForGood:
    return RefusedForGood(
        f"Kafka refuses the record for {topic}: the record is larger than the topic accepts", too_large=True
    )
