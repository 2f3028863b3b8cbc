"""Kafka out: records to their partitions, acknowledged by all in-sync replicas. kafka-python's producer stays here."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2

from kaufmann_celery.config import Config
from kaufmann_celery.errors import PublishError, UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_options import client_options, producer_options
from kaufmann_celery.outcome import OutRecord

#: Seconds for which a topic's partition count is believed, and for which a missing topic is believed missing.
_COUNT_TTL_S = 30.0
_MISSING_TTL_S = 2.0
#: Seconds to wait for the acknowledgement of what was sent; then all of it is sent again.
ACK_TIMEOUT_S = 30.0


class RefusedForGood(PublishError):
    """Kafka will never take this record: unknown topic or partition, not authorized, too large."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


class KafkaOut:
    """A producer that tells what may pass from what never will. Thread-safe. Connects at first use."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._producer: Any = None
        self._admin: Any = None
        self._counts: dict[str, tuple[int, float]] = {}

    def publish(self, records: Sequence[OutRecord]) -> list[Position | RefusedForGood]:
        """Send *records*, wait for every acknowledgement, and return in their order where each is, or why not.

        Blocks for up to 30 s. Raises `UnavailableError` where Kafka did not answer: any of them may be there or not.
        """
        try:
            pending = [self._send(record) for record in records]
            deadline = time.monotonic() + ACK_TIMEOUT_S
            return [self._wait(one, deadline) for one in pending]
        except kafka_errors.KafkaError as error:
            raise UnavailableError(f"Kafka did not acknowledge ({type(error).__name__}); check brokers") from error

    def refusal(self, record: OutRecord) -> RefusedForGood | None:
        """Return why Kafka would never take *record*, as far as can be known without sending it."""
        try:
            self._partition_of(record)
        except RefusedForGood as error:
            return error
        return None

    def partitions(self, topic: str) -> int:
        """Return how many partitions *topic* has; 0 where it does not exist. Blocks on Kafka every 30 s."""
        count, until = self._counts.get(topic, (0, 0.0))
        if time.monotonic() < until:
            return count
        try:
            described = self._admin_client().describe_topics([topic])[0]
        except kafka_errors.KafkaError as error:
            raise UnavailableError(f"Kafka does not answer ({type(error).__name__}); check brokers") from error
        self._refuse_unauthorized(topic, described["error_code"])
        count = len(described["partitions"])
        ttl = _COUNT_TTL_S if count else _MISSING_TTL_S
        self._counts[topic] = (count, time.monotonic() + ttl)
        return count

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and close; wait at most *timeout_s*."""
        with self._lock:
            producer, self._producer = self._producer, None
            admin, self._admin = self._admin, None
        if producer is not None:
            producer.close(timeout=timeout_s)
        if admin is not None:
            admin.close()

    def _send(self, record: OutRecord) -> Any:
        try:
            partition = self._partition_of(record)
            return self._producer_client().send(
                record.topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                partition=partition,
                timestamp_ms=record.timestamp_ms or None,
            )
        except RefusedForGood as error:
            return error
        except kafka_errors.MessageSizeTooLargeError as error:
            return _for_good(error, record.topic)

    def _wait(self, sent: Any, deadline: float) -> Position | RefusedForGood:
        if isinstance(sent, RefusedForGood):
            return sent
        try:
            metadata = sent.get(timeout=max(0.0, deadline - time.monotonic()))
        except kafka_errors.KafkaError as error:
            if not _is_for_good(error):
                raise
            return _for_good(error, "its topic")
        return Position(metadata.topic, metadata.partition, metadata.offset)

    def _partition_of(self, record: OutRecord) -> int:
        count = self.partitions(record.topic)
        if not count:
            raise RefusedForGood(f"topic {record.topic} does not exist; create it, or correct its name")
        if record.partition is None:
            return int(murmur2(record.spread) & 0x7FFFFFFF) % count
        if not 0 <= record.partition < count:
            raise RefusedForGood(f"topic {record.topic} has {count} partitions, none with number {record.partition}")
        return record.partition

    def _refuse_unauthorized(self, topic: str, code: int) -> None:
        error = kafka_errors.for_code(code)
        if issubclass(error, (kafka_errors.AuthorizationError, kafka_errors.InvalidTopicError)):
            raise RefusedForGood(f"Kafka refuses topic {topic}: {error.__name__}")

    def _producer_client(self) -> Any:
        with self._lock:
            if self._producer is None:
                self._producer = KafkaProducer(**producer_options(self._config))
            return self._producer

    def _admin_client(self) -> Any:
        with self._lock:
            if self._admin is None:
                self._admin = KafkaAdminClient(**client_options(self._config))
            return self._admin


def _is_for_good(error: kafka_errors.KafkaError) -> bool:
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


def _for_good(error: kafka_errors.KafkaError, topic: str) -> RefusedForGood:
    too_large = isinstance(error, (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError))
    why = "the record is larger than the topic accepts" if too_large else type(error).__name__
    return RefusedForGood(f"Kafka refuses the record for {topic}: {why}", too_large=too_large)
