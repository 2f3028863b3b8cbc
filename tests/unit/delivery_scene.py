"""One ingester that owns orders:0, where events run, and a Kafka in memory to which their outcomes go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kafka import TopicPartition

from kaufmann_celery.config import load_config
from kaufmann_celery.kafka_io.delivery import Delivery, delivery
from kaufmann_celery.kafka_io.kafka_out import KafkaOut
from kaufmann_celery.kafka_io.rounds import Entry
from kaufmann_celery.middleware import Middleware
from kaufmann_celery.outputs.outcome import Outcome, OutRecord
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.owned import OwnedPartition
from tests.unit.kafka_in_memory import KafkaInMemory
from tests.unit.ledger_in_memory import PARTITION, InMemory, owned_by, running

DELIVERIES = ("at_least_once", "exactly_once")


class Scene:
    """The ingester. Its transactional id is `orders.life`."""

    def __init__(self, kafka: KafkaInMemory, how: str, events: int = 5, middleware: Sequence[Middleware] = ()) -> None:
        self.kafka = kafka
        self.ledger = InMemory()
        self.owned = owned_by(self.ledger)
        running(self.owned, *range(events))
        self.partitions: dict[TopicPartition, OwnedPartition] = {PARTITION: self.owned}
        self.finished: list[int] = []
        self.reread: list[OwnedPartition] = []
        config = load_config("orders", keywords={"delivery": how}, conf={}, environ={})
        self.out = KafkaOut(config)
        self.delivery: Delivery = delivery(
            config, self.out, "orders.life", self.partitions, reread=self.reread.append, middleware=middleware
        )

    def deliver(self, *offsets: int, outcome: Outcome | None = None) -> list[int]:
        """Deliver what these events came to; return those refused."""
        entries = [Entry(self.owned, offset, outcome or outcome_of(offset)) for offset in offsets]
        return [one.entry.offset for one in self.delivery.deliver(entries, self._finish)]

    def let_go(self) -> None:
        """Let go of the partition, as the loop does when it hears of that."""
        self.delivery.let_go({self.owned}, self._finish)

    def commit(self) -> None:
        """Commit what is finished, as when it is due."""
        assert self.delivery.commit is not None
        self.delivery.commit()

    def _finish(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self.owned.finish(entry.offset)
            self.finished.append(entry.offset)

    @property
    def committed(self) -> list[Committed]:
        """The group's commits of the partition."""
        return [commit[PARTITION] for commit in self.kafka.commits]


def outcome_of(offset: int, **record: Any) -> Outcome:
    """Return an outcome with one record, whose value is the event's offset."""
    return Outcome((OutRecord("out", key=b"key", value=str(offset).encode(), **record),))
