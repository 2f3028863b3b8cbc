"""Where to begin to read a partition: at the group's commit, else as `auto_offset_reset` says. Never silently."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.config import Config
from kaufmann_celery.errors import ConfigError
from kaufmann_celery.partitions.commit_metadata import Committed, is_of, parse
from kaufmann_celery.partitions.messages import Unstable

log = logging.getLogger(__name__)

#: Milliseconds to wait for the group's coordinator; then it is tried again. After the first, the commit may wait for
#: a transaction that a predecessor left open.
_TIMEOUT_MS = 5000
_STABLE_MS = 1000


class StartingPoint:
    """Asks Kafka. Used by the consumer's thread; blocks; raises kafka-python's errors."""

    def __init__(self, consumer: Any, config: Config, tell: Callable[[Unstable], None]) -> None:
        self._consumer = consumer
        self._config = config
        self._tell = tell
        self._topic_ids: dict[TopicPartition, str] = {}
        #: Logs that were cut, by Kafka's word, each with where it ended then: what stands there now is new.
        self._cut: dict[TopicPartition, int] = {}

    def has_moved(self, partition: TopicPartition) -> bool:
        """Return whether the topic is another than when `of` was asked: it was deleted and made anew."""
        return self._topic_id(partition) not in ("None", self._topic_ids.get(partition))

    def outside(self, error: Any) -> Iterator[TopicPartition]:
        """Yield the partitions whose position is not in their log, but for those that go on behind a gap.

        *error* is what kafka-python says of them; they are to be taken anew.
        """
        if isinstance(error, kafka_errors.LogTruncationError):
            for partition, end in error.divergent_offsets.items():
                self.cut(partition, end)
                yield partition
        else:
            asked = error.args[0].items()
            yield from (partition for partition, offset in asked if not self.skip_gap(partition, offset))

    def skip_gap(self, partition: TopicPartition, asked: int) -> bool:
        """Where the offset that was *asked* for is out of range, go on at the first record there is.

        Returns False where it is beyond the end: then the partition is to be taken anew, and `of` says from where.
        """
        first = self._consumer.beginning_offsets([partition])[partition]
        if asked >= first:
            self._cut[partition] = self._end_of(partition)
            return False
        log_gap(partition, asked, first)
        self._consumer.seek(partition, first)
        return True

    def cut(self, partition: TopicPartition, end: OffsetAndMetadata | None) -> None:
        """Note that what Kafka once had from *end* on, None where it cannot tell, is there no more."""
        if end is not None:
            self._cut[partition] = end.offset

    def forget(self, *partitions: TopicPartition) -> None:
        """Note that another member may own these from now on. May be called from any thread."""
        for partition in partitions:
            self._cut.pop(partition, None)

    def of(self, partition: TopicPartition) -> tuple[str, Committed]:
        """Return the topic's UUID and what is finished.

        Raises `ConfigError` where it has none and `auto_offset_reset` is none.
        """
        topic_id = self._topic_ids[partition] = self._topic_id(partition)
        try:
            kept = self._consumer.committed(partition, metadata=True, timeout_ms=_STABLE_MS)
        except kafka_errors.KafkaTimeoutError:
            generation = self._consumer.group_metadata().generation_id
            cluster_id = str(self._consumer._client.cluster.cluster_id)
            self._tell(Unstable(partition, cluster_id, topic_id, generation))
            kept = self._consumer.committed(partition, metadata=True, timeout_ms=_TIMEOUT_MS)
        first = self._consumer.beginning_offsets([partition])[partition]
        if kept is None or kept.offset < 0:
            return topic_id, self._without_commit(partition, first)
        committed = parse(kept.offset, kept.metadata)
        if not is_of(committed, topic_id):
            return topic_id, self._without_commit(partition, first)
        if kept.offset < first:
            log_gap(partition, kept.offset, first)
        return topic_id, self._within_log(partition, committed)

    def _within_log(self, partition: TopicPartition, committed: Committed) -> Committed:
        """Return what is finished of the records that there are.

        Where the log was cut others get the offsets of those that are gone. So all that is known of these goes, and
        the ledger with it. Another tool's commit may be beyond the last stable record: whether it is beyond the end
        as well Kafka says when it is read from there.
        """
        end = self._cut.pop(partition, None)
        if end is None:
            end = committed.offset if committed.incarnation is None else self._end_of(partition)
        if max(committed.offset, committed.highest + 1) <= end:
            return committed
        left = Committed(
            min(committed.offset, end),
            min(committed.highest, end - 1),
            tuple(offset for offset in committed.unfinished if offset < end),
        )
        _log_cut(partition, committed, end, left.offset)
        return left

    def _end_of(self, partition: TopicPartition) -> int:
        return int(self._consumer.end_offsets([partition])[partition])

    def _topic_id(self, partition: TopicPartition) -> str:
        # kafka-python offers no public way to it.
        return str(self._consumer._client.cluster.topic_id(partition.topic))

    def _without_commit(self, partition: TopicPartition, first: int) -> Committed:
        policy = self._config.auto_offset_reset
        if policy == "none":
            raise ConfigError(
                f"group {self._config.consumer_group} has no commit for {partition.topic}:{partition.partition} "
                "and auto_offset_reset is none; set it to earliest or latest, or commit an offset"
            )
        last = self._end_of(partition)
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


def _log_cut(partition: TopicPartition, committed: Committed, end: int, going_on: int) -> None:
    log.error(
        "offsets of %s:%d below %d are committed, but its log ends at %d: Kafka lost records, as in an unclean "
        "election, or a tool moved the group's offset; going on at %d",
        partition.topic,
        partition.partition,
        max(committed.offset, committed.highest + 1),
        end,
        going_on,
        extra={"action": "records_lost", "topic": partition.topic, "partition": partition.partition},
    )
