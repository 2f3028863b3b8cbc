"""Where to begin to read a partition: at the group's commit, else as `auto_offset_reset` says. Never silently."""

from __future__ import annotations

import logging
from typing import Any

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.errors import ConfigError
from kaufmann_celery.partitions.commit_metadata import Committed, parse

log = logging.getLogger(__name__)

#: Milliseconds to wait for the group's coordinator; then it is tried again.
_TIMEOUT_MS = 5000


class StartingPoint:
    """Asks Kafka. Used by the consumer's thread; blocks; raises kafka-python's errors."""

    def __init__(self, consumer: Any, config: Config) -> None:
        self._consumer = consumer
        self._config = config

    def of(self, partition: TopicPartition) -> tuple[str, Committed]:
        """Return the topic's UUID and what is finished.

        Raises `ConfigError` where it has none and `auto_offset_reset` is none.
        """
        kept = self._consumer.committed(partition, metadata=True, timeout_ms=_TIMEOUT_MS)
        first = self._consumer.beginning_offsets([partition])[partition]
        # kafka-python offers no public way to the topic's UUID.
        topic_id = str(self._consumer._client.cluster.topic_id(partition.topic))
        if kept is None or kept.offset < 0:
            return topic_id, self._without_commit(partition, first)
        if kept.offset < first:
            log_gap(partition, kept.offset, first)
        return topic_id, parse(kept.offset, kept.metadata)

    def _without_commit(self, partition: TopicPartition, first: int) -> Committed:
        policy = self._config.auto_offset_reset
        if policy == "none":
            raise ConfigError(
                f"group {self._config.consumer_group} has no commit for {partition.topic}:{partition.partition} "
                "and auto_offset_reset is none; set it to earliest or latest, or commit an offset"
            )
        last = self._consumer.end_offsets([partition])[partition]
        start = first if policy == "earliest" else last
        log.info(
            "no commit yet for %s:%d: starting at %s, %d records ahead",
            partition.topic,
            partition.partition,
            policy,
            last - start,
            extra={"action": "offset_reset", "topic": partition.topic, "partition": partition.partition},
        )
        return Committed(start, start - 1)


def log_gap(partition: TopicPartition, wanted: int, first: int) -> None:
    """Say that retention removed records before they were handled."""
    log.error(
        "retention removed records of %s:%d before they were handled: offsets %d to %d are gone",
        partition.topic,
        partition.partition,
        wanted,
        first - 1,
        extra={"action": "records_gone", "topic": partition.topic, "partition": partition.partition},
    )
