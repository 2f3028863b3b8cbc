"""Which of kafka-python's errors pass by themselves, and what its consumer does not do well enough by itself."""

from __future__ import annotations

from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors


def passes(error: kafka_errors.KafkaError) -> bool:
    """Return whether *error* may pass by itself."""
    # An illegal state: the partition was revoked at this very moment, by kafka-python's own thread.
    passing = (kafka_errors.CommitFailedError, kafka_errors.KafkaConnectionError, kafka_errors.IllegalStateError)
    return error.retriable or isinstance(error, passing)


def mend(consumer: Any) -> None:
    """Make up for what in kafka-python 3.0.12 keeps a consumer from ever reading on. To be called before each poll.

    Records parked for a paused partition come back only where this attribute is None, but a drained object is left
    there. And a join that a poll's time-out interrupts is not taken up again unless a rejoin is needed.
    """
    fetcher, coordinator = consumer._fetcher, consumer._coordinator
    if not fetcher._next_partition_records:
        fetcher._next_partition_records = None
    if coordinator._join_task is not None:
        coordinator.rejoin_needed = True


def position_of(consumer: Any, partition: TopicPartition) -> int | None:
    """Return the offset that is read next, as far as the consumer knows; None where it does not, or lost *partition*.

    Its own `position()` may ask Kafka, and looks at every partition to answer for one.
    """
    state = consumer._subscription.assignment.get(partition)
    return None if state is None or state.position is None else int(state.position.offset)


def needs_poll(consumer: Any) -> bool:
    """Return whether a poll would do more than read: join the group, or call back for commits that are answered."""
    coordinator = consumer._coordinator
    joins = coordinator.rejoin_needed or coordinator._join_task is not None
    return bool(joins or coordinator.completed_offset_commits)
