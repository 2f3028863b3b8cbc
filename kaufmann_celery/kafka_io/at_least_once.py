"""Rounds published at least once: each event stands for itself, and none waits for another's topic."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.errors import RefusedForGood, UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io.kafka_out import ACK_TIMEOUT_S, KafkaOut, answer
from kaufmann_celery.kafka_io.onlookers import Onlookers
from kaufmann_celery.kafka_io.rounds import Entry, Finish, Refused, records_of, refusals
from kaufmann_celery.middleware import Hooks, Middleware
from kaufmann_celery.outputs.producing import RecordsOut
from kaufmann_celery.partitions.owned import OwnedPartition

#: Seconds that a round waits for what it sent; less than a revoke waits for the round.
_ROUND_S = 1.0

#: Of what was handed over to a producer that is dropped.
_UNSENT = "not acknowledged, and its producer is closed"

#: What became of a record.
Answer = Position | RefusedForGood


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """An event whose records a producer has, and Kafka has not acknowledged yet."""

    entry: Entry
    #: What the producer gave for each record, and when it was handed them.
    sent: Sequence[Any]
    at: float

    def answers(self, until: float | None = None) -> list[Answer] | None:
        """Return what became of each record, None where Kafka owes one. Waits for a moment from when they were sent.

        *until*: for so long instead (monotonic seconds).
        """
        found = [answer(one, self.at + _ROUND_S if until is None else until) for one in self.sent]
        known = [one for one in found if one is not None]
        return known if len(known) == len(found) else None


class AtLeastOnce:
    """Publishes; offsets are committed some time later.

    Each event stands for itself: it is finished as soon as Kafka has all of its records. What is not acknowledged
    within a moment stays under way, and nothing else waits for it. It is sent again only once its producer is dropped,
    so never beside itself.
    """

    commit: Callable[[], None] | None = None
    rest_until = 0.0

    def __init__(
        self,
        kafka: KafkaOut,
        partitions: Mapping[TopicPartition, OwnedPartition],
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._kafka = kafka
        self._partitions = partitions
        self._onlookers = Onlookers(middleware)
        self._under_way: dict[tuple[OwnedPartition, int], _UnderWay] = {}
        #: How many producers had been dropped when these were sent.
        self._dropped = 0

    @property
    def is_behind(self) -> bool:
        """Return whether acknowledgements are awaited."""
        return bool(self._under_way)

    def prepare(self) -> None:
        """Nothing: a producer connects at first use."""

    def deliver(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        """Publish what is not under way yet, and finish whatever is acknowledged by now."""
        self._forget()
        try:
            return self._delivered(entries, finish)
        except UnavailableError as error:
            self._onlookers.give_up(error)
            raise

    def let_go(self, leaving: Collection[OwnedPartition], finish: Finish) -> None:
        """Finish what Kafka has of partitions that are let go, waiting a moment for it."""
        until = time.monotonic() + _ROUND_S
        for key, one in list(self._under_way.items()):
            if one.entry.owned not in leaving:
                continue
            # What is refused, or failed, stays under way: its producer is dropped with it.
            with suppress(kafka_errors.KafkaError):
                answers = one.answers(until)
                if answers is not None and not any(isinstance(answer, RefusedForGood) for answer in answers):
                    del self._under_way[key]
                    self._onlookers.answered(one.entry, answers)
                    finish([one.entry])

    def close(self) -> None:
        """Have nothing more sent of what is under way: whoever settles it publishes it."""
        if self._under_way:
            self._kafka.drop()
            self._onlookers.give_up(UnavailableError(_UNSENT))

    def _delivered(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        away = self._send(entries)
        done, doubtful, failed = self._answered()
        finish(done)
        if (error := away or failed or self._overdue()) is not None:
            # What it still holds would be sent as well, besides its repetition.
            self._kafka.drop()
            raise error
        return self._judged(doubtful, finish) if doubtful else []

    def _forget(self) -> None:
        """Forget what is not to be sent any more: by its producer's end, or because another publishes it by now."""
        if any(self._partitions.get(owned.partition) is not owned for owned, _ in self._under_way):
            self._kafka.drop()
        if self._dropped != self._kafka.dropped:
            self._dropped = self._kafka.dropped
            self._under_way.clear()
            self._onlookers.give_up(UnavailableError(_UNSENT))

    def _send(self, entries: Sequence[Entry]) -> UnavailableError | None:
        now = time.monotonic()
        unsent = [entry for entry in entries if (entry.owned, entry.offset) not in self._under_way]
        self._onlookers.begin(unsent)
        for entry in unsent:
            try:
                sent = self._kafka.hand_over(entry.outcome.records)
            except UnavailableError as error:
                return error
            self._under_way[entry.owned, entry.offset] = _UnderWay(entry, sent, now)
        return None

    def _answered(self) -> tuple[list[Entry], list[tuple[_UnderWay, list[Answer]]], UnavailableError | None]:
        """Return events that Kafka has, those of which it refuses records with the answers, and what else failed."""
        done, doubtful, failed = [], [], None
        for key, one in list(self._under_way.items()):
            try:
                answers = one.answers()
            except kafka_errors.KafkaError as error:
                failed = UnavailableError(f"Kafka did not acknowledge ({type(error).__name__}); check brokers")
                continue
            if answers is None:
                continue
            del self._under_way[key]
            if any(isinstance(answer, RefusedForGood) for answer in answers):
                doubtful.append((one, answers))
            else:
                done.append(one.entry)
                self._onlookers.answered(one.entry, answers)
        return done, doubtful, failed

    def _overdue(self) -> UnavailableError | None:
        late = [one for one in self._under_way.values() if time.monotonic() - one.at > ACK_TIMEOUT_S]
        if not late:
            return None
        topics = sorted({record.topic for one in late for record in one.entry.outcome.records})
        return UnavailableError(f"Kafka does not acknowledge what is sent to {', '.join(topics)}; check its replicas")

    def _judged(self, doubtful: Sequence[tuple[_UnderWay, list[Answer]]], finish: Finish) -> list[Refused]:
        entries = [one.entry for one, _ in doubtful]
        answers = self._kafka.judge(
            records_of(entries),
            [sent for one, _ in doubtful for sent in one.sent],
            [answer for _, answers in doubtful for answer in answers],
        )
        of_each = iter(answers)
        for entry in entries:
            self._onlookers.answered(entry, list(islice(of_each, len(entry.outcome.records))))
        return _finished(entries, answers, finish)


class AtOnce:
    """Publishes by what is not Kafka's own producer, and waits for what that answers."""

    commit: Callable[[], None] | None = None
    rest_until = 0.0
    is_behind = False

    def __init__(self, out: RecordsOut, middleware: Sequence[Middleware] = ()) -> None:
        self._out = out
        self._hooks = Hooks(middleware, "publish")

    def prepare(self) -> None:
        """Nothing."""

    def deliver(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        """Publish all; each event stands for itself."""
        records = records_of(entries)
        publish = partial(self._out.publish, records)
        return _finished(entries, self._hooks.around(records, publish) if records else (), finish)

    def let_go(self, leaving: Collection[OwnedPartition], finish: Finish) -> None:
        """Nothing: no answer is awaited between rounds."""

    def close(self) -> None:
        """Nothing."""


def _finished(entries: Sequence[Entry], answers: Iterable[object], finish: Finish) -> list[Refused]:
    """Finish the events that are published whole, and return the others."""
    answers = iter(answers)
    refused = [
        # What is published already is not published again.
        Refused(entry, replace(entry.outcome, records=tuple(record for record, _ in why)), why)
        for entry in entries
        if (why := refusals(entry, answers))
    ]
    without = {one.entry for one in refused}
    finish([entry for entry in entries if entry not in without])
    return refused
