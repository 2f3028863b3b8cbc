"""Who finds a commit that is not stable ends the transaction of the partition's last owner."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import LedgerConnection
from kaufmann_celery.ledger.address import wake_channel
from kaufmann_celery.partitions.commit_metadata import Committed, incarnation_of
from kaufmann_celery.partitions.fencing import Fencing, transactional_id
from kaufmann_celery.partitions.messages import Unstable
from kaufmann_celery.partitions.starting_point import StartingPoint

CONFIG = load_config("orders", keywords={"delivery": "exactly_once"}, conf={}, environ={})
OWN = wake_channel("kaufmann", "mine")
OTHER = wake_channel("kaufmann", "theirs")
KEPT = Committed(5, 6, (5,), incarnation_of("uuid", "history"))


@dataclass
class Scene:
    """Ledgers that name their last owner, and what is fenced."""

    owner: str | None = OTHER
    fenced: list[str] = field(default_factory=list)
    away: bool = False

    def __post_init__(self) -> None:
        connection = cast(LedgerConnection, SimpleNamespace(client=self))
        self.fencing = Fencing(CONFIG, connection, own=transactional_id(CONFIG, OWN), fence=self.fence)

    def hget(self, key: str, name: str) -> bytes | None:
        assert key.startswith("kaufmann:{cluster/orders/uuid/")
        assert name == "wake"
        return None if self.owner is None else self.owner.encode()

    def fence(self, other: str) -> None:
        if self.away:
            raise UnavailableError
        self.fenced.append(other)

    def unstable(self, partition: int = 0, generation: int = 3) -> None:
        self.fencing.heard(Unstable(TopicPartition("orders", partition), "cluster", "uuid", generation))
        self.fencing.fence()


def test_the_last_owner_is_fenced_once_in_a_generation() -> None:
    scene = Scene()
    for partition, generation in [(0, 3), (1, 3), (0, 3), (0, 4)]:
        scene.unstable(partition, generation)

    assert scene.fenced == ["orders.theirs"] * 2


@pytest.mark.parametrize("owner", [None, OWN])
def test_neither_nobody_nor_itself_is_fenced(owner: str | None) -> None:
    scene = Scene(owner)
    scene.unstable()

    assert scene.fenced == []


def test_what_could_not_be_fenced_is_tried_again() -> None:
    scene = Scene(away=True)
    with pytest.raises(UnavailableError):
        scene.unstable()
    scene.away = False
    scene.fencing.fence()
    scene.fencing.fence()

    assert scene.fenced == ["orders.theirs"]


class Consumer:
    """Answers for the group's commit once the transaction is ended."""

    def __init__(self) -> None:
        self.told: list[Unstable] = []
        self.is_open = True
        self._client = SimpleNamespace(
            cluster=SimpleNamespace(topic_id=lambda _: "uuid", cluster_id="cluster"),
        )

    def tell(self, message: Unstable) -> None:
        self.told.append(message)
        self.is_open = False

    def committed(self, *_: Any, **__: Any) -> Any:
        if self.is_open:
            raise kafka_errors.KafkaTimeoutError
        return OffsetAndMetadata(5, KEPT.metadata(), -1)

    def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 7)

    def group_metadata(self) -> Any:
        return SimpleNamespace(generation_id=3)


def test_a_commit_that_is_not_stable_is_told_of_and_waited_for() -> None:
    consumer = Consumer()
    partition = TopicPartition("orders", 0)
    found = StartingPoint(consumer, CONFIG, consumer.tell).of(partition)

    assert found == ("uuid", KEPT)
    assert consumer.told == [Unstable(partition, "cluster", "uuid", 3)]
