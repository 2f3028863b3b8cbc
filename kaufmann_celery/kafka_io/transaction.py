"""Records and the group's offsets in one Kafka transaction. kafka-python's transactional producer stays here.

One transactional id for the life of an ingester, and one producer at a time. Whatever goes wrong, the producer is
thrown away and another is made under the same id: Kafka then finishes the transaction that lies open, or aborts it,
before anything else is written. kafka-python 3.0.12 could not go on by itself: what it wrote keeps its numbers when it
is aborted, and the offsets of an aborted transaction are committed with the next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import ConsumerGroupMetadata

from kaufmann_celery.config import Config
from kaufmann_celery.errors import PublishError, RefusedForGood, UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io import producers
from kaufmann_celery.kafka_io.kafka_out import KafkaOut, acknowledged, is_for_good
from kaufmann_celery.kafka_io.options import TRANSACTION_TIMEOUT_S, transactional_options
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.messages import offsets_of

#: The first version that refuses the offsets of a member which is not in the group any more (KIP-447).
_OLDEST_KAFKA = (2, 5)

#: Not about a record: the service may not write in transactions at all.
_NOT_ALLOWED = (
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.KafkaConfigurationError,
)


#: About who may commit: another ingester has the partitions, or another producer the transactional id.
_SUPERSEDED = (
    kafka_errors.CommitFailedError,
    kafka_errors.ProducerFencedError,
    kafka_errors.FencedInstanceIdError,
)


class ResultUnknown(UnavailableError):
    """Whether Kafka committed the transaction cannot be known: what it holds is to be read again."""


class Transactions:
    """Writes transactions, one at a time. Used by one thread; each method blocks for at most about 20 s."""

    def __init__(self, config: Config, kafka: KafkaOut, transactional_id: str) -> None:
        self._config = config
        self._kafka = kafka
        self._id = transactional_id
        self._producer: Any = None

    def prepare(self) -> None:
        """Connect, and have Kafka finish or abort what lies open. Raises `UnavailableError`, and `PublishError`."""
        if self._producer is None:
            self._producer = _connected(self._config, self._id)

    def commit(
        self,
        records: Sequence[OutRecord],
        commits: Mapping[TopicPartition, Committed],
        *,
        generation: int,
        member: str,
    ) -> list[Position | RefusedForGood]:
        """Write *records* and commit, all or nothing; return where each record is, or why not.

        Where one is refused for good nothing is written; others may then be refused in its place. *generation* and
        *member* are those under which the partitions are owned: Kafka takes no offsets of an earlier generation.
        Raises `UnavailableError` where nothing was written, `ResultUnknown`, and `PublishError`.
        """
        answers = self._begun(records, commits, generation, member)
        if any(isinstance(answer, RefusedForGood) for answer in answers):
            self._drop()
            return answers
        try:
            manager = self._producer._transaction_manager
            self._wait(manager.begin_commit(), time.monotonic() + TRANSACTION_TIMEOUT_S)
        except (kafka_errors.KafkaError, RuntimeError) as error:
            self._drop()
            raise ResultUnknown(f"Kafka did not say whether a transaction is committed ({_name(error)})") from error
        return answers

    def trial(
        self, record: OutRecord, commits: Mapping[TopicPartition, Committed], *, generation: int, member: str
    ) -> Position | RefusedForGood:
        """Return what Kafka says of *record* alone, in a transaction that is aborted. Raises as `commit` does."""
        (answer,) = self._begun([record], commits, generation, member)
        self._drop()
        return answer

    def close(self) -> None:
        """Close the producer."""
        self._drop()

    def _begun(
        self,
        records: Sequence[OutRecord],
        commits: Mapping[TopicPartition, Committed],
        generation: int,
        member: str,
    ) -> list[Position | RefusedForGood]:
        """Write a transaction up to its commit. Where that fails there is no producer any more."""
        self.prepare()
        group = ConsumerGroupMetadata(
            self._config.consumer_group, generation, member, self._config.kafka_options.get("group_instance_id")
        )
        try:
            return self._written(records, commits, group, time.monotonic() + TRANSACTION_TIMEOUT_S)
        except UnavailableError:
            self._drop()
            raise
        except (kafka_errors.KafkaError, RuntimeError) as error:
            self._drop()
            raise _translated(error, "aborted a transaction") from error

    def _written(
        self,
        records: Sequence[OutRecord],
        commits: Mapping[TopicPartition, Committed],
        group: ConsumerGroupMetadata,
        deadline: float,
    ) -> list[Position | RefusedForGood]:
        producer = self._producer
        producer.begin_transaction()
        # Before any record is written: so wherever records lie open, offsets do, by which the next owner knows of it.
        offsets = producer._transaction_manager.send_offsets_to_transaction(offsets_of(commits), group)
        sent = [self._sent(record) for record in records]
        try:
            self._wait(offsets, deadline)
        except kafka_errors.KafkaError as error:
            # A topic that may not be written to ends all of the transaction.
            if not is_for_good(error) or isinstance(error, _NOT_ALLOWED):
                raise
        # Committed with a record missing it would be, where that one timed out.
        return [acknowledged(one, deadline) for one in sent]

    def _sent(self, record: OutRecord) -> Any:
        producer = self._producer
        try:
            return self._kafka.send(lambda: producer, record)
        except kafka_errors.KafkaError:
            # Kafka may have refused an earlier one already; then the producer takes no other into the transaction.
            why = producer._transaction_manager.last_error
            if why is None or not is_for_good(why) or isinstance(why, _NOT_ALLOWED):
                raise
            return RefusedForGood(f"sent together with a record that Kafka refuses: {_name(why)}")

    def _wait(self, result: Any, deadline: float) -> None:
        """Wait as kafka-python's own methods do, but not for ever."""
        self._producer._sender.wakeup()
        if not result.wait(timeout_ms=max(0.0, deadline - time.monotonic()) * 1000):
            raise kafka_errors.KafkaTimeoutError("no answer")

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producers.close(producer)


def fence(config: Config, transactional_id: str) -> None:
    """End another's transactions: Kafka aborts what lies open, and refuses what it still sends.

    Blocks; raises `UnavailableError` and `PublishError`.
    """
    producers.close(_connected(config, transactional_id), timeout_s=1.0)


def _connected(config: Config, transactional_id: str) -> Any:
    producer: Any = None
    try:
        producer = producers.connected(transactional_options(config, transactional_id))
        if producer.config["api_version"] < _OLDEST_KAFKA:
            raise kafka_errors.UnsupportedVersionError("exactly_once needs Kafka 2.5 or later")
        producer.init_transactions()
    except kafka_errors.KafkaError as error:
        if producer is not None:
            producers.close(producer)
        raise _translated(error, "does not answer") from error
    return producer


def _translated(error: BaseException, what: str) -> UnavailableError | PublishError:
    if isinstance(error, _NOT_ALLOWED):
        return PublishError(f"Kafka refuses transactions: {_name(error)}; {error}")
    if isinstance(error, _SUPERSEDED):
        return UnavailableError(f"the group has rebalanced: Kafka {what} ({_name(error)})")
    return UnavailableError(f"Kafka {what} ({_name(error)}); check brokers")


def _name(error: BaseException) -> str:
    return type(error).__name__
