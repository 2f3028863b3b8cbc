"""Records of one topic, without a consumer group. kafka-python's consumer stays here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.config import Config
from kaufmann_celery.errors import KaufmannError, UnavailableError
from kaufmann_celery.kafka_io.options import client_options

#: Seconds that one poll waits for records.
_POLL_S = 0.5
#: Polls without a record or a step forward after which what is left holds no records that anybody may read.
_IDLE_POLLS = 6


class NoSuchTopic(KaufmannError):
    """Kafka has no such topic, or no such partition of it."""


class TopicReader:
    """Reads from *partition* (None: all) from *offset* (None: the beginning) on. Connects when it is made.

    Raises `UnavailableError` where Kafka does not answer, and `NoSuchTopic`.
    """

    def __init__(
        self, config: Config, topic: str, partition: int | None, offset: int | None, *, connect_timeout: float
    ) -> None:
        try:
            self._consumer = KafkaConsumer(
                **{"bootstrap_timeout_ms": int(connect_timeout * 1000), **client_options(config)},
                isolation_level="read_committed",
                auto_offset_reset="earliest",
                enable_auto_commit=False,
            )
            self._partitions = self._find(topic, partition)
            self._consumer.assign(self._partitions)
            for one in self._partitions:
                self._seek(one, offset)
        except NoSuchTopic:
            self._consumer.close()
            raise
        except kafka_errors.KafkaError as error:
            raise _unavailable(error) from error

    def seek_to_end(self) -> None:
        """Go past all that is there now."""
        try:
            for partition, end in self._consumer.end_offsets(self._partitions).items():
                self._consumer.seek(partition, end)
        except kafka_errors.KafkaError as error:
            raise _unavailable(error) from error

    def seek_to_time(self, moment_ms: int) -> None:
        """Go to the first record of each partition that is not older; past all where there is none."""
        try:
            ends = self._consumer.end_offsets(self._partitions)
            found = self._consumer.offsets_for_times(dict.fromkeys(self._partitions, moment_ms))
            for partition, end in ends.items():
                at = found.get(partition)
                self._consumer.seek(partition, end if at is None else at.offset)
        except kafka_errors.KafkaError as error:
            raise _unavailable(error) from error

    def records(self, *, follow: bool) -> Iterator[Any]:
        """Yield the records up to the end as it is now; with *follow*, go on for ever. Blocks."""
        try:
            yield from self._follow() if follow else self._until(self._consumer.end_offsets(self._partitions))
        except kafka_errors.KafkaError as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()

    def _find(self, topic: str, partition: int | None) -> list[TopicPartition]:
        numbers = self._consumer.partitions_for_topic(topic)
        if not numbers:
            raise NoSuchTopic(f"topic {topic} does not exist")
        if partition is not None and partition not in numbers:
            raise NoSuchTopic(f"topic {topic} has {len(numbers)} partitions, none with number {partition}")
        return [TopicPartition(topic, number) for number in sorted(numbers) if partition in (None, number)]

    def _seek(self, partition: TopicPartition, offset: int | None) -> None:
        first = self._consumer.beginning_offsets([partition])[partition]
        self._consumer.seek(partition, first if offset is None else max(first, offset))

    def _follow(self) -> Iterator[Any]:
        while True:
            for records in self._poll().values():
                yield from records

    def _until(self, ends: Mapping[TopicPartition, int]) -> Iterator[Any]:
        idle, before = 0, -1
        while idle < _IDLE_POLLS and any(self._consumer.position(one) < end for one, end in ends.items()):
            for partition, records in self._poll().items():
                yield from (record for record in records if record.offset < ends[partition])
            reached = sum(self._consumer.position(one) for one in ends)
            idle, before = (idle + 1 if reached == before else 0), reached

    def _poll(self) -> Mapping[TopicPartition, list[Any]]:
        polled: Mapping[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms=int(_POLL_S * 1000))
        return polled


def _unavailable(error: kafka_errors.KafkaError) -> UnavailableError:
    return UnavailableError(f"Kafka does not answer ({type(error).__name__}); check brokers")
