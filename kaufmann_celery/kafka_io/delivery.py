"""How a round of outcomes gets to Kafka: at least once, or exactly once, in a transaction with the group's offsets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.kafka_io.at_least_once import AtLeastOnce, AtOnce
from kaufmann_celery.kafka_io.exactly_once import ExactlyOnce
from kaufmann_celery.kafka_io.kafka_out import KafkaOut
from kaufmann_celery.kafka_io.rounds import Entry, Finish, Refused
from kaufmann_celery.kafka_io.transaction import Transactions
from kaufmann_celery.middleware import Middleware
from kaufmann_celery.outputs.producing import RecordsOut
from kaufmann_celery.partitions.owned import OwnedPartition


class Delivery(Protocol):
    """Publishes rounds. Blocks; raises `UnavailableError` where Kafka is away: what is not finished comes again."""

    @property
    def commit(self) -> Callable[[], None] | None:
        """Commits what is finished and published already, in a transaction; None: plain commits do."""

    @property
    def rest_until(self) -> float:
        """When the next round should begin (monotonic seconds), so that it is worth its cost."""

    @property
    def is_behind(self) -> bool:
        """Whether what was published is not acknowledged yet, and so its events are not finished."""

    def prepare(self) -> None:
        """Get ready before there is anything to publish."""

    def deliver(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        """Publish *entries*, call *finish* with those that Kafka has, and return those that it refuses for good.

        Those of which nobody knows yet are to be among the entries of a later round.
        """

    def let_go(self, leaving: Collection[OwnedPartition], finish: Finish) -> None:
        """Call *finish* with what Kafka has by now of partitions that are let go, waiting a moment for it."""

    def close(self) -> None:
        """Drop connections of its own."""


def delivery(
    config: Config,
    out: RecordsOut,
    transactional_id: str,
    partitions: Mapping[TopicPartition, OwnedPartition],
    *,
    reread: Callable[[OwnedPartition], None],
    middleware: Sequence[Middleware] = (),
) -> Delivery:
    """Return what the setting `delivery` asks for. *reread* is called where nobody knows what Kafka has committed."""
    if config.delivery == "at_least_once":
        return AtLeastOnce(out, partitions, middleware) if isinstance(out, KafkaOut) else AtOnce(out, middleware)
    assert isinstance(out, KafkaOut), "producer_mod is refused with exactly_once"
    transactions = Transactions(config, out, transactional_id)
    return ExactlyOnce(transactions, partitions, reread=reread, middleware=middleware)
