"""What is known of the replays of some partitions: what was asked for, and what of it is done."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import replace

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io.group_offsets import KafkaView
from kaufmann_celery.ledger.replayed import Replay, Replays
from kaufmann_celery.operations.picked import Picks
from kaufmann_celery.partitions.group_status import ledger_base


class ReplayNotes:
    """Notes of one group that replays, *own*, and what Kafka holds of it. Each method but `of` may ask Redis.

    An event that was asked for is done once the group's commit holds it; whoever hears of that first notes it. For that
    to be so, the group is moved in a partition only when all that was asked for there is done, and before anything
    else is asked for.
    """

    def __init__(self, own: Config, view: KafkaView, replays: Replays) -> None:
        self._view = view
        self._replays = replays
        self._bases = {where: ledger_base(own, view, where) for where in view.ends}
        self._known = dict(zip(self._bases, replays.of(self._bases.values()), strict=True))

    def of(self, position: Position) -> Replay | None:
        """Return what is known of an event; None where it was never replayed."""
        where, offset = _split(position)
        found: Replay | None = self._known.get(where, {}).get(offset)
        return replace(found, is_done=True) if found is not None and self._holds(where, offset) else found

    def begun(self) -> list[Position]:
        """Return what was asked for and is not done, in order."""
        return [
            Position(where.topic, where.partition, offset)
            for where, replays in sorted(self._known.items())
            for offset, one in sorted(replays.items())
            if not one.is_done and not self._holds(where, offset)
        ]

    def is_there(self, position: Position) -> bool:
        """Return whether Kafka may still have the record."""
        where, offset = _split(position)
        return self._view.firsts.get(where, 0) <= offset < self._view.ends.get(where, 0)

    def has_commit(self, where: TopicPartition) -> bool:
        """Return whether the group has a commit to go on from."""
        return where in self._view.commits

    def settle(self) -> None:
        """Note what Kafka holds as done."""
        for where, replays in self._known.items():
            self.done(where, [offset for offset in replays if self._holds(where, offset)])

    def ask(self, picks: Picks) -> None:
        """Note what is about to be handed over."""
        now_ms = int(time.time() * 1000)
        for where, offsets in picks.items():
            known = self._known[where]
            self._note(
                where,
                {
                    offset: Replay(timestamp_ms, known[offset].times + 1 if offset in known else 1, now_ms)
                    for offset, timestamp_ms in offsets.items()
                },
            )

    def done(self, where: TopicPartition, offsets: Collection[int]) -> None:
        """Note what is settled and committed."""
        known = self._known[where]
        self._note(
            where,
            {
                offset: replace(known[offset], is_done=True)
                for offset in offsets
                if offset in known and not known[offset].is_done
            },
        )

    def forget(self, gone: Mapping[TopicPartition, Collection[int]]) -> None:
        """Forget that these were asked for: their records are not there."""
        for where, offsets in gone.items():
            self._replays.forget(self._bases[where], list(offsets))

    def _note(self, where: TopicPartition, replays: Mapping[int, Replay]) -> None:
        self._replays.note(self._bases[where], replays)
        self._known[where] |= replays

    def _holds(self, where: TopicPartition, offset: int) -> bool:
        commit = self._view.commits.get(where)
        return commit is not None and commit.holds(offset)


def _split(position: Position) -> tuple[TopicPartition, int]:
    return TopicPartition(position.topic, position.partition), position.offset
