"""A consumer group's offsets, moved by hand: the ledger first, then Kafka."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka import TopicPartition

from kaufmann_celery.errors import KaufmannError
from kaufmann_celery.kafka_io.group_offsets import GroupActive, GroupReader, KafkaView
from kaufmann_celery.ledger import connect
from kaufmann_celery.ledger.clearing import clear
from kaufmann_celery.ledger.reading import read
from kaufmann_celery.operations.places import Bounds, NoSuchPlace, Place
from kaufmann_celery.partitions.group_status import ledger_base

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.config import Config

#: Seconds in which Kafka must answer.
CONNECT_TIMEOUT_S = 8.0
#: Seconds after which a member that was killed is out of its group, and those between looks.
_LEAVES_AFTER_S = 15.0
_LOOK_EVERY_S = 0.5

#: Topic -> numbers of partitions, None = all of them.
Choice = Mapping[str, frozenset[int] | None]


def choice_of(texts: Iterable[str]) -> Choice | None:
    """Read `TOPIC` and `TOPIC:0,2`; None where there are none. Raises `NoSuchPlace`."""
    found: dict[str, frozenset[int] | None] = {}
    for text in texts:
        topic, colon, numbers = text.partition(":")
        parts = numbers.split(",") if colon else []
        if not topic or not all(part.isdecimal() for part in parts):
            raise NoSuchPlace(f"expected TOPIC or TOPIC:PARTITION,…, got {text}")
        known = found.get(topic, frozenset())
        found[topic] = known | frozenset(map(int, parts)) if colon and known is not None else None
    return found or None


@dataclass(frozen=True, slots=True)
class Move:
    """Where the group is in a partition, and where it is to be."""

    topic: str
    partition: int
    #: None where the group has not committed.
    before: int | None
    after: int
    #: The first offset still there, and the one after the last that may be read.
    first: int
    end: int
    #: Events that the ledger holds as outstanding; they are forgotten.
    outstanding: int = 0

    @property
    def where(self) -> TopicPartition:
        """The partition by kafka-python's name."""
        return TopicPartition(self.topic, self.partition)

    @property
    def effect(self) -> str:
        """What the move does to records, in words."""
        known = self.first if self.before is None else max(self.before, self.first)
        if self.after == known:
            return "stays"
        return f"{known - self.after} again" if self.after < known else f"{self.after - known} skipped"


def plan_moves(kaufmann: Kaufmann, place: Place, choice: Choice | None = None) -> tuple[KafkaView, list[Move]]:
    """Return the group as it is, and where it would be in each partition chosen (None: all it consumes).

    Changes nothing. Raises `KaufmannError` with every partition that has no such place, `UnavailableError`.
    """
    with group_reader(kaufmann.config) as reader:
        view = reader.view()
        partitions = chosen(view, choice, kaufmann.config)
        offsets = offsets_of(reader, view, place, partitions)
    outstanding = _outstanding(kaufmann, view, partitions)
    moves = [
        Move(
            where.topic, where.partition, _committed(view, where), offsets[where], view.firsts[where],
            view.ends[where], outstanding[where],
        )
        for where in partitions
    ]  # fmt: skip
    return view, moves


def move(kaufmann: Kaufmann, offsets: Mapping[TopicPartition, int], config: Config | None = None) -> None:
    """Have the group of *config* (None: the service's) go on at *offsets*. Its ledgers go first.

    What Kafka then says is all there is. Raises `GroupActive` where the group has members: nothing is changed, or,
    where one came just now, only the ledger is, from which that member recovers. Raises `UnavailableError`; then call
    it again.
    """
    config = config or kaufmann.config
    with group_reader(config) as reader:
        view = reader.view()
        refuse_active(view, config)
        forget_ledgers(kaufmann, config, view, offsets)
        reader.move(offsets)


def forget_ledgers(kaufmann: Kaufmann, config: Config, view: KafkaView, partitions: Iterable[TopicPartition]) -> None:
    """Throw the ledgers of the group of *config* away. Raises `UnavailableError`."""
    connection = connect(config.redis_url, kaufmann.transport_options)
    try:
        clear(connection, [ledger_base(config, view, where) for where in partitions])
    finally:
        connection.close()


def refuse_active(view: KafkaView, config: Config) -> None:
    """Raise `GroupActive` where the group has members, and name them."""
    if view.is_active:
        members = "; ".join(map(str, view.members)) or f"state {view.state}"
        raise GroupActive(f"group {config.consumer_group} is active: {members}. Stop its ingesters first")


def await_no_members(config: Config, what: str) -> None:
    """Wait until one that was killed is out of the group of *config*; raise `GroupActive` where one lives."""
    deadline = time.monotonic() + _LEAVES_AFTER_S
    with group_reader(config) as reader:
        while (view := reader.view()).is_active:
            if time.monotonic() >= deadline:
                raise GroupActive(f"another {what} of this group is at work: {'; '.join(map(str, view.members))}")
            time.sleep(_LOOK_EVERY_S)


def chosen(view: KafkaView, choice: Choice | None, config: Config) -> list[TopicPartition]:
    """Return the partitions meant, in their order; raise `KaufmannError` where there are none such."""
    faults = [f"topic {topic} does not exist" for topic in view.missing_topics if choice is None or topic in choice]
    for topic, numbers in (choice or {}).items():
        if topic not in config.subscription_topics:
            faults.append(f"topic {topic} is none that the service consumes; see subscription_topics")
        elif topic not in view.missing_topics:
            missing = sorted((numbers or frozenset()) - {one.partition for one in view.ends if one.topic == topic})
            faults += [f"topic {topic} has no partition {number}" for number in missing]
    if faults:
        raise KaufmannError("\n".join(faults))
    return sorted(one for one in view.ends if choice is None or _is_meant(one, choice))


def offsets_of(
    reader: GroupReader, view: KafkaView, place: Place, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Return the offset of *place* in each partition; raise `KaufmannError` with every one that has no such place."""
    partitions = list(partitions)
    times = reader.at_time(partitions, place.number) if place.kind == "time" else {}
    offsets, faults = {}, []
    for where in partitions:
        bounds = Bounds(view.firsts[where], view.ends[where], _committed(view, where))
        try:
            offsets[where] = place.offset_in(bounds, times.get(where))
        except NoSuchPlace as error:
            faults.append(f"{where.topic}:{where.partition}: {error}")
    if faults:
        raise KaufmannError(
            "\n".join([*faults, "choose partitions with --topic, or give a place that all of them have"])
        )
    return offsets


@contextmanager
def group_reader(config: Config) -> Iterator[GroupReader]:
    """Connect to Kafka for the length of the block. Raises `UnavailableError`."""
    reader = GroupReader(config, connect_timeout=CONNECT_TIMEOUT_S)
    try:
        yield reader
    finally:
        reader.close()


def _outstanding(
    kaufmann: Kaufmann, view: KafkaView, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    connection = connect(kaufmann.config.redis_url, kaufmann.transport_options)
    try:
        views = read(connection, [ledger_base(kaufmann.config, view, where) for where in partitions])
    finally:
        connection.close()
    return {where: len(one.unfinished) for where, one in zip(partitions, views, strict=True)}


def _committed(view: KafkaView, where: TopicPartition) -> int | None:
    commit = view.commits.get(where)
    return commit.offset if commit else None


def _is_meant(where: TopicPartition, choice: Choice) -> bool:
    if where.topic not in choice:
        return False
    numbers = choice[where.topic]
    return numbers is None or where.partition in numbers
