"""How far an ingester reads: for ever, or until all that was in the topics at the start is settled and committed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.config import Config
from kaufmann_celery.kafka_io.options import client_options
from kaufmann_celery.partitions.blocking import say
from kaufmann_celery.partitions.messages import Fetched
from kaufmann_celery.partitions.owned import OwnedPartition

log = logging.getLogger(__name__)

#: Seconds between looks at what other ingesters of the group have committed, and at ends that Kafka did not tell.
_LOOK_EVERY_S = 1.0


#: Has the records of a partition from an offset on read next.
GoTo = Callable[[TopicPartition, int], None]


class Endless:
    """Reads for ever. Used by the ingester's loop alone, but for `wants`."""

    def start(self, go_to: GoTo) -> None:
        """Look where the end is. *go_to* has a partition read on elsewhere."""

    def wants(self, partition: TopicPartition, read_to: int) -> bool:  # noqa: ARG002 - for who reads less
        """Return whether anything from *read_to* on is to be read. Called in the consumer's thread."""
        return True

    def cut(self, fetched: Fetched) -> Fetched:
        """Return what is to be taken of *fetched*."""
        return fetched

    def left(self, owned: OwnedPartition) -> int | None:  # noqa: ARG002 - as above
        """Return the end that *owned* has not reached yet; None where it has, or where there is none."""
        return None

    def say_left(self, partitions: Iterable[OwnedPartition]) -> None:
        """Log what holds back each partition that is not at its end."""
        for owned in partitions:
            if (end := self.left(owned)) is not None:
                say(owned, f"stopped before the end, offset {end}")

    def is_settled(self, owned: Mapping[TopicPartition, OwnedPartition]) -> bool:  # noqa: ARG002 - as above
        """Return whether, in the partitions owned here, only the commit is missing."""
        return False

    def is_committed(self, owned: Mapping[TopicPartition, OwnedPartition]) -> bool:  # noqa: ARG002 - as above
        """Return whether the group's commits have reached every end."""
        return False


class UntilEnd(Endless):
    """The end of each partition as it was at the start."""

    def __init__(self, config: Config, topics: Iterable[str]) -> None:
        self._config = config
        self._topics = list(topics)
        self._ends: dict[TopicPartition, int] = {}
        #: Kafka was away when the ends were to be read.
        self._is_unread = False
        self._looked_at = 0.0
        self._others: dict[TopicPartition, int] = {}

    def start(self, go_to: GoTo) -> None:  # noqa: ARG002 - reads all of it
        """Read the ends. Blocks; where Kafka is away they are read once it answers."""
        self._read_ends()

    def _read_ends(self) -> None:
        self._is_unread = True
        try:
            consumer = KafkaConsumer(
                **client_options(self._config), isolation_level="read_committed", enable_auto_commit=False
            )
            try:
                partitions = [
                    TopicPartition(topic, number)
                    for topic in self._topics
                    for number in consumer.partitions_for_topic(topic) or ()
                ]
                ends: Mapping[TopicPartition, int] = consumer.end_offsets(partitions)
                firsts = consumer.beginning_offsets(partitions)
            finally:
                consumer.close()
        except kafka_errors.KafkaError as error:
            log.warning(
                "Kafka does not say where its topics end (%s); asking again", type(error).__name__,
                extra={"action": "wait"},
            )  # fmt: skip
            return
        self._is_unread = False
        self._ends = {partition: end for partition, end in ends.items() if end > firsts[partition]}

    def left(self, owned: OwnedPartition) -> int | None:
        """Return the end that *owned* has not reached yet; None where it has."""
        end = self._ends.get(owned.partition, 0)
        return end if owned.watermark.safe_offset < end else None

    def is_settled(self, owned: Mapping[TopicPartition, OwnedPartition]) -> bool:
        """Return whether, in the partitions owned here, only the commit is missing."""
        mine = [(one, self._ends[partition]) for partition, one in owned.items() if partition in self._ends]
        return bool(mine) and all(one.watermark.safe_offset >= end for one, end in mine)

    def is_committed(self, owned: Mapping[TopicPartition, OwnedPartition]) -> bool:
        """Return whether the group's commits have reached every end. Blocks while Kafka has not told the ends."""
        if self._is_unread:
            if self._is_time():
                self._read_ends()
            return False
        left = {
            partition: end
            for partition, end in self._ends.items()
            if (one := owned.get(partition)) is None or one.committed.offset < end
        }
        if any(partition in owned for partition in left):
            return False
        return not left or self._others_reached(left)

    def _others_reached(self, left: Mapping[TopicPartition, int]) -> bool:
        if self._is_time():
            self._others = self._group_commits()
        return all(self._others.get(partition, -1) >= end for partition, end in left.items())

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY_S:
            return False
        self._looked_at = now
        return True

    def _group_commits(self) -> dict[TopicPartition, int]:
        group = self._config.consumer_group
        try:
            admin: Any = KafkaAdminClient(**client_options(self._config))
            try:
                commits = admin.list_group_offsets({group: None})[group]
            finally:
                admin.close()
        except kafka_errors.KafkaError:
            return {}
        return {partition: commit.offset for partition, commit in commits.items()}
