"""How a round of outcomes gets to Kafka: at least once, or exactly once, in a transaction with the group's offsets."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.kafka_io.kafka_out import KafkaOut, RefusedForGood
from kaufmann_celery.kafka_io.transaction import ResultUnknown, Transactions
from kaufmann_celery.outputs.outcome import Outcome, OutRecord
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.owned import OwnedPartition

#: A transaction costs the same whatever is in it: the next begins once twice as long has passed as the last one took,
#: at most so many seconds.
_RESTS = 2
_MOST_REST_S = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One event's outcome, to be published."""

    owned: OwnedPartition
    offset: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Refused:
    """An event with records that Kafka refuses for good, and why."""

    entry: Entry
    #: The records of it that are not in Kafka.
    left: Outcome
    why: Sequence[tuple[OutRecord, RefusedForGood]]


#: Takes what Kafka has: these events are finished.
Finish = Callable[[Sequence[Entry]], None]


class Delivery(Protocol):
    """Publishes rounds. Blocks; raises `UnavailableError` where Kafka is away: what is not finished is as before."""

    @property
    def commit(self) -> Callable[[], None] | None:
        """Commits what is finished and published already, in a transaction; None: plain commits do."""

    @property
    def rest_until(self) -> float:
        """When the next round should begin (monotonic seconds), so that it is worth its cost."""

    def prepare(self) -> None:
        """Get ready before there is anything to publish."""

    def deliver(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        """Publish *entries*, call *finish* with those that Kafka has, and return the others."""

    def close(self) -> None:
        """Drop connections of its own."""


class AtLeastOnce:
    """Publishes; offsets are committed some time later."""

    commit: Callable[[], None] | None = None
    rest_until = 0.0

    def __init__(self, kafka: KafkaOut) -> None:
        self._kafka = kafka

    def prepare(self) -> None:
        """Nothing: a producer connects at first use."""

    def deliver(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        """Publish all; each event stands for itself."""
        answers = iter(self._kafka.publish(_records(entries)))
        refused = [
            # What Kafka has taken is not published again.
            Refused(entry, replace(entry.outcome, records=tuple(record for record, _ in why)), why)
            for entry in entries
            if (why := _refusals(entry, answers))
        ]
        without = {one.entry for one in refused}
        finish([entry for entry in entries if entry not in without])
        return refused

    def close(self) -> None:
        """Nothing."""


class ExactlyOnce:
    """Publishes in transactions, with what the group's offsets are once the round is finished.

    No other commit of a partition that is owned may be on its way at the same time: a plain one that Kafka takes
    between the two ends of a transaction would stay when that is committed, and what it published is not in it.
    """

    def __init__(
        self,
        transactions: Transactions,
        partitions: Mapping[TopicPartition, OwnedPartition],
        *,
        reread: Callable[[OwnedPartition], None],
    ) -> None:
        self._transactions = transactions
        self._partitions = partitions
        self._reread = reread
        self.rest_until = 0.0

    def prepare(self) -> None:
        """Connect, and have Kafka end what an earlier producer left open."""
        self._transactions.prepare()

    def deliver(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        """Publish in one transaction; events with what Kafka refuses are found by trying without them."""
        if not any(entry.outcome.records for entry in entries):
            # Their offsets go with the next transaction.
            finish(entries)
            return []
        refused = {entry: why for entry, why in self._attempt(entries, finish).items() if why}
        if not refused:
            return []
        if len(entries) == 1:
            return [Refused(entry, entry.outcome, why) for entry, why in refused.items()]
        # Some are refused only because they were sent together with what is.
        rest = [entry for entry in entries if entry not in refused] or entries[: len(entries) // 2]
        kept = set(rest)
        return [
            one
            for part in (rest, [entry for entry in entries if entry not in kept])
            for one in self.deliver(part, finish)
        ]

    def commit(self) -> None:
        """Commit what is finished and published already."""
        self._attempt([], lambda _: None)

    def close(self) -> None:
        """Close the producer."""
        self._transactions.close()

    def _attempt(self, entries: Sequence[Entry], finish: Finish) -> dict[Entry, list[tuple[OutRecord, RefusedForGood]]]:
        finishing: dict[OwnedPartition, set[int]] = {}
        for entry in entries:
            finishing.setdefault(entry.owned, set()).add(entry.offset)
        carried = [one for one in self._partitions.values() if one.uncommitted or one in finishing]
        commits = {one.partition: _commit_of(one, finishing.get(one, ())) for one in carried}
        if not commits:
            return {}
        ledger, began = carried[0].ledger, time.monotonic()
        try:
            found = self._transactions.commit(
                _records(entries), commits, generation=ledger.generation, member=ledger.member
            )
        except ResultUnknown:
            for one in carried:
                self._reread(one)
            raise
        now = time.monotonic()
        self.rest_until = now + min(_MOST_REST_S, _RESTS * (now - began))
        answers = iter(found)
        refused = {entry: _refusals(entry, answers) for entry in entries}
        if not any(refused.values()):
            finish(entries)
            for one in carried:
                one.committed = one.forgettable = commits[one.partition]
                one.uncommitted = 0
        return refused


def delivery(
    config: Config,
    kafka: KafkaOut,
    transactional_id: str,
    partitions: Mapping[TopicPartition, OwnedPartition],
    *,
    reread: Callable[[OwnedPartition], None],
) -> Delivery:
    """Return what the setting `delivery` asks for. *reread* is called where nobody knows what Kafka has committed."""
    if config.delivery == "at_least_once":
        return AtLeastOnce(kafka)
    return ExactlyOnce(Transactions(config, kafka, transactional_id), partitions, reread=reread)


def _commit_of(owned: OwnedPartition, finishing: Collection[int]) -> Committed:
    return owned.watermark.committed(owned.ledger.incarnation, finishing)


def _records(entries: Iterable[Entry]) -> list[OutRecord]:
    return [record for entry in entries for record in entry.outcome.records]


def _refusals(entry: Entry, answers: Iterable[object]) -> list[tuple[OutRecord, RefusedForGood]]:
    """Take the answers for the entry's records; return those that are refused for good."""
    answered = list(zip(entry.outcome.records, answers, strict=False))
    return [(record, why) for record, why in answered if isinstance(why, RefusedForGood)]
