"""Events that failed, handed to this group's handlers once more: the original record, and nobody else hears of it.

They are read by a group of its own, `<group>.replay`, with a ledger of its own, while the service's group goes on. What
was asked for, and what of it is done, is noted in Redis beside the ledgers: asked for before anything is handed over,
done once its commit is in Kafka. So a call that was ended in the middle is gone on with, and nothing that was replayed
is replayed again unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.event import Position
from kaufmann_celery.ledger import connect
from kaufmann_celery.ledger.replayed import Replay, Replays
from kaufmann_celery.operations.failures import Failure
from kaufmann_celery.operations.offsets import await_no_members, group_reader, move
from kaufmann_celery.operations.picked import Picked, Picks
from kaufmann_celery.operations.replay_notes import ReplayNotes
from kaufmann_celery.partitions.errand import Errand

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.ingester import Ingester

#: `begun`: an earlier call was ended before it was finished; it is gone on with, whoever is meant now. `failed again`:
#: after its last replay was asked for.
State = Literal["to replay", "begun", "replayed", "failed again", "gone", "no handler"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One event, and what a replay makes of it."""

    position: Position
    state: State
    #: None where it was begun, and its error event is not among those that are meant.
    failure: Failure | None
    #: Its replays so far; None without.
    replay: Replay | None

    @property
    def timestamp_ms(self) -> int:
        """The original record's."""
        known = self.failure or self.replay
        assert known is not None, "it is known by one of them"
        return known.timestamp_ms


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of the events of one call."""

    handled: int = 0
    failed: int = 0
    #: Found to be gone though the plan did not know.
    gone: tuple[Position, ...] = ()
    #: False: it was told to stop before its end; the next call goes on.
    is_done: bool = True

    def __add__(self, more: Handed) -> Handed:
        return Handed(
            self.handled + more.handled, self.failed + more.failed, self.gone + more.gone, self.is_done and more.is_done
        )


def plan_replay(kaufmann: Kaufmann, failures: Sequence[Failure], *, again: bool = False) -> list[Candidate]:
    """Return what a replay of *failures* would do with each, after what was begun. Changes nothing.

    *again*: also with those that were replayed already. Raises `UnavailableError`.
    """
    own = _own(kaufmann.config, failures)
    with _notes(kaufmann, own) as notes:
        meant = {failure.position: failure for failure in failures}
        begun = [Candidate(one, "begun", meant.pop(one, None), notes.of(one)) for one in notes.begun()]
        return begun + [_candidate(kaufmann, failure, notes, again=again) for failure in meant.values()]


def replay(
    kaufmann: Kaufmann, candidates: Sequence[Candidate], *, starting: Callable[[Ingester], None] = lambda _: None
) -> Handed:
    """Hand over what is begun, then what is to be replayed. Blocks until all is settled and committed.

    *starting* is given each ingester before it runs. While a service is away it waits, as an ingester does. Raises
    `GroupActive` where another replay is at work, and `UnavailableError`.
    """
    kaufmann.load()
    own = _own(kaufmann.config, [one.failure for one in candidates if one.failure])
    await_no_members(own, "replay")
    handed = Handed()
    for state in ("begun", "to replay"):
        # What is begun is finished first: it rests on what the group has committed, and on its ledgers.
        picks = _picks(one for one in candidates if one.state == state)
        if picks and handed.is_done:
            handed += _hand_over(kaufmann, own, picks, starting, is_begun=state == "begun")
    return handed


def _hand_over(
    kaufmann: Kaufmann, own: Config, picks: Picks, starting: Callable[[Ingester], None], *, is_begun: bool
) -> Handed:
    from kaufmann_celery.ingester import Ingester

    with _notes(kaufmann, own) as notes:
        notes.settle()
        begins = {where: min(offsets) for where, offsets in picks.items()}
        if is_begun:
            # Kafka forgets a group in time: then there is nothing to go on from.
            begins = {where: at for where, at in begins.items() if not notes.has_commit(where)}
        move(kaufmann, begins, own)
        if not is_begun:
            notes.ask(picks)
        picked = Picked(own, picks, finished=notes.done)
        topics = tuple(sorted({where.topic for where in picks}))
        ingester = Ingester(kaufmann, errand=Errand(own.consumer_group, topics, picked))
        starting(ingester)
        ingester.run()
        if picked.is_done:
            notes.forget(picked.gone)
    gone = tuple(
        Position(where.topic, where.partition, offset)
        for where, offsets in picked.gone.items()
        for offset in sorted(offsets)
    )
    return Handed(ingester.counts.handled, ingester.counts.failed, gone, picked.is_done)


def _candidate(kaufmann: Kaufmann, failure: Failure, notes: ReplayNotes, *, again: bool) -> Candidate:
    replayed = notes.of(failure.position)
    state: State = "to replay"
    if replayed is not None and not again:
        state = "failed again" if failure.failed_at_ms > replayed.asked_at_ms else "replayed"
    if not notes.is_there(failure.position):
        state = "gone"
    elif kaufmann.handlers.match(failure.name) is None and failure.name != "unknown":
        state = "no handler"
    return Candidate(failure.position, state, failure, replayed)


def _picks(candidates: Iterator[Candidate]) -> Picks:
    picks: dict[TopicPartition, dict[int, int]] = {}
    for one in candidates:
        topic, partition, offset = one.position
        picks.setdefault(TopicPartition(topic, partition), {})[offset] = one.timestamp_ms
    return picks


@contextmanager
def _notes(kaufmann: Kaufmann, own: Config) -> Iterator[ReplayNotes]:
    with group_reader(own) as reader:
        view = reader.view()
    connection = connect(own.redis_url, kaufmann.transport_options)
    try:
        yield ReplayNotes(own, view, Replays(connection))
    finally:
        connection.close()


def _own(config: Config, failures: Sequence[Failure]) -> Config:
    """Return the settings by which it reads: a group of its own, and wherever originals may stand."""
    topics = {*config.subscription_topics, *(failure.position.topic for failure in failures)}
    group = f"{config.consumer_group}.replay"
    return replace(config, consumer_group=group, subscription_topics=tuple(sorted(topics)))
