"""kafka-python's producers: made, sent by and closed in the same way, whether they write in transactions or not."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from kaufmann_celery.errors import ConfigError
from kaufmann_celery.outputs.outcome import OutRecord

#: Seconds that a producer has to hear of a partition that is there.
_HEAR_S = 5.0


def connected(options: Mapping[str, Any]) -> Any:
    """Make a producer. Blocks; raises kafka-python's errors, and `ConfigError` for options that it does not take."""
    try:
        return KafkaProducer(**options)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"kafka_options: {error}") from error


def send(producer: Any, record: OutRecord, partition: int) -> Any:
    """Hand *record* to *producer* and return what kafka-python does. Raises its errors."""
    deadline = time.monotonic() + _HEAR_S
    while True:
        try:
            return producer.send(
                record.topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                partition=partition,
                timestamp_ms=record.timestamp_ms or None,
            )
        except ValueError as error:
            # The topic got the partition after the producer last asked for its topics, which it does every 15 s.
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not _asks_again(producer, left_s):
                raise kafka_errors.KafkaTimeoutError(str(error)) from error


def close(producer: Any, timeout_s: float = 0.0) -> None:
    """Flush and close; what is not sent within *timeout_s* never is."""
    try:
        producer.close(timeout=timeout_s)
    except kafka_errors.KafkaError:
        # Then close() stops half-way, and its thread would go on sending.
        producer._sender.force_close()


def _asks_again(producer: Any, timeout_s: float) -> bool:
    """Have *producer* ask Kafka for its topics now; return whether that was answered."""
    answered = threading.Event()
    producer._metadata.request_update().add_both(lambda _: answered.set())
    producer._sender.wakeup()
    return answered.wait(timeout_s)
