"""Which of kafka-python's errors pass by themselves."""

from __future__ import annotations

from kafka import errors as kafka_errors


def passes(error: kafka_errors.KafkaError) -> bool:
    """Return whether *error* may pass by itself."""
    # An illegal state: the partition was revoked at this very moment, by kafka-python's own thread.
    passing = (kafka_errors.CommitFailedError, kafka_errors.KafkaConnectionError, kafka_errors.IllegalStateError)
    return error.retriable or isinstance(error, passing)
