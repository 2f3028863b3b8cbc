"""Kafka out: records to their partitions, acknowledged by all in-sync replicas."""

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
from kaufmann_celery.errors import PublishError, UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io import producers
from kaufmann_celery.kafka_io.options import client_options, producer_options
from kaufmann_celery.outputs.outcome import OutRecord

#: Seconds for which what is known of a topic is believed, and for which a topic or partition is believed missing.
_COUNT_TTL_S = 30.0
_MISSING_TTL_S = 2.0
#: The topic setting that decides what is too large, and what Kafka counts besides key, value and headers at least.
_MOST_BYTES = "max.message.bytes"
_OVERHEAD_BYTES = 61 + 7
#: Seconds to wait for the acknowledgement of what was sent; then all of it is sent again.
ACK_TIMEOUT_S = 30.0


class RefusedForGood(PublishError):
    """Kafka will never take this record: unknown topic or partition, not authorized, too large."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


@dataclass(frozen=True, slots=True)
class _Topic:
    """What is known of a topic since a moment of the monotonic clock."""

    partitions: int
    #: None where Kafka does not say.
    most_bytes: int | None
    asked_at: float


class KafkaOut:
    """A producer that tells what may pass from what never will. Thread-safe. Connects at first use."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._producer: Any = None
        self._admin: Any = None
        self._topics: dict[str, _Topic] = {}
        #: How many producers were dropped: what an earlier one was handed is not on its way any more.
        self.dropped = 0

    def publish(self, records: Sequence[OutRecord]) -> list[Position | RefusedForGood]:
        """Send *records*, wait for every acknowledgement, and return in their order where each is, or why not.

        Blocks for up to 30 s. Raises `UnavailableError` where Kafka did not answer: any of them may be there or not.
        """
        with self._translated():
            return self._publish(records)

    def hand_over(self, records: Sequence[OutRecord]) -> list[Any]:
        """Hand *records* to the producer and return what `answer` takes, for each. Raises `UnavailableError`."""
        with self._translated():
            return [self.send(self._producer_client, record) for record in records]

    def judge(
        self, records: Sequence[OutRecord], sent: Sequence[Any], answers: Sequence[Position | RefusedForGood]
    ) -> list[Position | RefusedForGood]:
        """Return *answers* to what was *sent*, where a refusal is for that record alone. Blocks as `publish` does."""
        with self._translated():
            return self._judged(records, sent, answers)

    def refusal(self, record: OutRecord) -> RefusedForGood | None:
        """Return why Kafka would never take *record*, as far as can be known without sending it."""
        try:
            self._partition_of(record)
        except RefusedForGood as error:
            return error
        return None

    def partitions(self, topic: str) -> int:
        """Return how many partitions *topic* has; 0 where it does not exist. Blocks on Kafka every 30 s."""
        return self._topic(topic).partitions

    def drop(self, timeout_s: float = 0.0) -> None:
        """Drop the producer: what Kafka has not got after *timeout_s* is not sent any more, or was sent already."""
        with self._lock:
            producer, self._producer = self._producer, None
            self.dropped += producer is not None
        if producer is not None:
            producers.close(producer, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and close; wait at most *timeout_s*."""
        self.drop(timeout_s)
        with self._lock:
            admin, self._admin = self._admin, None
        if admin is not None:
            admin.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except kafka_errors.KafkaError as error:
            # What it still holds would be sent as well, besides its repetition.
            self.drop()
            raise UnavailableError(f"Kafka did not acknowledge ({type(error).__name__}); check brokers") from error

    def _publish(self, records: Sequence[OutRecord]) -> list[Position | RefusedForGood]:
        sent = [self.send(self._producer_client, record) for record in records]
        deadline = time.monotonic() + ACK_TIMEOUT_S
        return self._judged(records, sent, [acknowledged(one, deadline) for one in sent])

    def _judged(
        self, records: Sequence[OutRecord], sent: Sequence[Any], answers: Sequence[Position | RefusedForGood]
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
            self.drop()
        if refused and len(records) > 1:
            middle = len(refused) // 2 if len(refused) == len(records) else len(refused)
            for part in (refused[:middle], refused[middle:]):
                for at, answer in zip(part, self._publish([records[at] for at in part]), strict=True):
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
            raise RefusedForGood(
                f"topic {record.topic} does not exist; correct its name, create it, or start the ingester that reads it"
            )
        if topic.most_bytes is not None and record.size + _OVERHEAD_BYTES > topic.most_bytes:
            raise _too_large(record.topic)
        if record.partition is None:
            return record.spread % count
        if not 0 <= record.partition < count:
            raise RefusedForGood(f"topic {record.topic} has {count} partitions, none with number {record.partition}")
        return record.partition

    def _topic(self, name: str, partition: int = 0) -> _Topic:
        """Return what is known of a topic; where it is not known to have *partition*, that is soon asked again."""
        known = self._topics.get(name)
        if known is not None:
            ttl_s = _COUNT_TTL_S if partition < known.partitions else _MISSING_TTL_S
            if time.monotonic() < known.asked_at + ttl_s:
                return known
        known = self._topics[name] = self._asked(name)
        return known

    def _asked(self, name: str) -> _Topic:
        try:
            described = self._admin_client().describe_topics([name])[0]
        except kafka_errors.KafkaError as error:
            raise UnavailableError(f"Kafka does not answer ({type(error).__name__}); check brokers") from error
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
            found = self._admin_client().describe_configs([resource], config_filter="all")
            return int(found["topic"][name][_MOST_BYTES]["value"])
        return None

    def _producer_client(self) -> Any:
        with self._lock:
            if self._producer is None:
                self._producer = producers.connected(producer_options(self._config))
            return self._producer

    def _admin_client(self) -> Any:
        with self._lock:
            if self._admin is None:
                self._admin = KafkaAdminClient(**client_options(self._config))
            return self._admin


def _refuse_unwritable(topic: str, described: Mapping[str, Any]) -> None:
    error = kafka_errors.for_code(described["error_code"])
    if issubclass(error, (kafka_errors.AuthorizationError, kafka_errors.InvalidTopicError)):
        raise RefusedForGood(f"Kafka refuses topic {topic}: {error.__name__}")
    if described["is_internal"]:
        raise RefusedForGood(f"topic {topic} is Kafka's own")


def answer(sent: Any, deadline: float) -> Position | RefusedForGood | None:
    """Wait for what became of one that was sent; None where nobody knows yet. Raises kafka-python's errors."""
    if isinstance(sent, RefusedForGood):
        return sent
    try:
        metadata = sent.get(timeout=max(0.0, deadline - time.monotonic()))
    except kafka_errors.KafkaError as error:
        if not sent.is_done:
            return None
        if not (is_for_good(error) or _is_for_company(error)):
            raise
        return _for_good(error, "its topic")
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
