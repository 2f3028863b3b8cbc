"""A service's state made anew: its events are handled again from one place to another, and nothing is published.

They are read by a group of its own, `<group>.reinit`, so that the service's group stays where it was until all is
done. Where it began and where it ends is kept in Kafka too, as commits of `<group>.reinit.bounds`: whatever ends it in
the middle, the next call goes on from the commits of the one to the ends in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from kafka import TopicPartition

from kaufmann_celery.config import Config
from kaufmann_celery.errors import KaufmannError
from kaufmann_celery.kafka_io.group_offsets import GroupActive, KafkaView
from kaufmann_celery.operations.begun import Asked, Part, Reinit, read_back
from kaufmann_celery.operations.offsets import (
    await_no_members,
    choice_of,
    chosen,
    forget_ledgers,
    group_reader,
    move,
    offsets_of,
    refuse_active,
)
from kaufmann_celery.operations.places import place_of
from kaufmann_celery.operations.stretch import Stretch, Tell
from kaufmann_celery.partitions.errand import Errand

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.ingester import Ingester

#: What forgets it, as a command's option and as an argument.
_ANEW = "--anew (anew=True) to forget it"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of the events of one call."""

    handled: int
    failed: int
    published: int
    #: False: it was told to stop before its end; the next call goes on.
    is_done: bool


def plan_reinit(kaufmann: Kaufmann, asked: Asked | None = None, *, anew: bool = False) -> Reinit:
    """Return what is to be done for *asked*; for None what was begun, else everything. Changes nothing.

    What was begun goes on, unless *anew*. Raises `KaufmannError` where something else was begun, the group is active or
    there are no such places, `ConfigError` where they can be none, and `UnavailableError`.
    """
    config, wanted = kaufmann.config, asked or Asked()
    begin_at, end_at, choice = place_of(wanted.begin), place_of(wanted.end), choice_of(wanted.topics)
    with group_reader(config) as reader:
        view = reader.view()
        refuse_active(view, config)
        begun = None if anew else _begun(config, view)
        if begun is not None:
            if asked not in (None, begun.asked):
                raise KaufmannError(f"another reinit was begun: {begun.asked}; give this to go on with it, or {_ANEW}")
            return begun
        partitions = chosen(view, choice, config)
        # There is nothing to be had of an empty one, wherever one looks.
        full = [where for where in partitions if view.ends[where] > view.firsts[where]]
        if not full and "offset" in (begin_at.kind, end_at.kind):
            names = ", ".join(f"{where.topic}:{where.partition}" for where in partitions)
            raise KaufmannError(f"there is nothing to replay, for {names} have no records")
        begins = offsets_of(reader, view, begin_at, full)
        ends = offsets_of(reader, view, end_at, full)
    _refuse_backwards(begins, ends)
    parts = []
    for where in partitions:
        begin, end = (offsets.get(where, view.ends[where]) for offsets in (begins, ends))
        commit = view.commits.get(where)
        before = None if commit is None else commit.offset
        parts.append(Part(where.topic, where.partition, begin, end, begin, view.firsts[where], before))
    return Reinit(wanted, tuple(parts), goes_on=False)


def reinit(
    kaufmann: Kaufmann, plan: Reinit, *, tell: Tell, starting: Callable[[Ingester], None] = lambda _: None
) -> Replayed:
    """Do it, and leave the group at the ends. Blocks; while a service is away it waits, as an ingester does.

    *starting* is given the ingester before it runs. Raises `KaufmannError` where the group has become active, or was
    moved by somebody else: all is replayed then.
    """
    from kaufmann_celery.ingester import Ingester

    kaufmann.load()
    own = _own(kaufmann.config)
    await_no_members(own, "reinit")
    if not plan.goes_on:
        _begin(kaufmann, own, plan)
    ends = {part.where: part.end for part in plan.parts}
    stretch = Stretch(own, {part.where: part.reached for part in plan.parts}, ends, tell=tell)
    topics = tuple(sorted({part.topic for part in plan.parts}))
    ingester = Ingester(kaufmann, errand=Errand(own.consumer_group, topics, stretch, publishes=plan.asked.publish))
    if plan.left:
        starting(ingester)
        ingester.run()
    is_done = _has_reached(own, ends)
    if is_done:
        _finish(kaufmann, own, plan)
    counts = ingester.counts
    return Replayed(counts.handled, counts.failed, counts.published, is_done)


def _begin(kaufmann: Kaufmann, own: Config, plan: Reinit) -> None:
    """Put the own group to the beginnings, then write down where it is to end: only that makes it begun."""
    move(kaufmann, {part.where: part.begin for part in plan.parts}, own)
    with group_reader(_bounds(kaufmann.config)) as reader:
        # With what another one left there, which is not to be done any more.
        before = {where: end for where, (end, _) in reader.kept().items()}
        reader.move(before | {part.where: part.end for part in plan.parts}, plan.as_metadata())


def _begun(config: Config, view: KafkaView) -> Reinit | None:
    """Return what an earlier call began and did not finish."""
    with group_reader(_bounds(config)) as reader:
        ends = reader.kept()
    with group_reader(_own(config)) as reader:
        reached = reader.kept()
    begun = read_back(ends, reached)
    gone = {part.topic for part in begun.parts} - view.topic_ids.keys() if begun else ()
    if gone:
        topics = ", ".join(sorted(gone))
        raise KaufmannError(f"a reinit was begun of {topics}, which the service consumes no more; give {_ANEW}")
    return begun


def _finish(kaufmann: Kaufmann, own: Config, plan: Reinit) -> None:
    """Move the service's group to the ends, then forget what was begun: its ends say nothing more."""
    config = kaufmann.config
    with group_reader(config) as reader:
        view = reader.view()
    if view.is_active:
        members = "; ".join(map(str, view.members))
        raise GroupActive(
            f"all is replayed, but group {config.consumer_group} has become active, so its offsets are not moved: "
            f"{members}. Stop its ingesters and call again"
        )
    now = {where: commit.offset for where, commit in view.commits.items()}
    moved = [part for part in plan.parts if now.get(part.where) not in (part.committed, part.end)]
    if not moved:
        # Where it is there already its commit knows what is finished above.
        move(kaufmann, {part.where: part.end for part in plan.parts if now.get(part.where) != part.end})
    with group_reader(_bounds(config)) as reader:
        reader.move({part.where: part.end for part in plan.parts})
    forget_ledgers(kaufmann, own, view, [part.where for part in plan.parts])
    if moved:
        where = ", ".join(f"{one.topic}:{one.partition} from {one.committed} to {now.get(one.where)}" for one in moved)
        raise KaufmannError(
            f"all is replayed, but somebody moved group {config.consumer_group} meanwhile ({where}): it stays there"
        )


def _has_reached(own: Config, ends: Mapping[TopicPartition, int]) -> bool:
    with group_reader(own) as reader:
        kept = reader.kept()
    return all(kept.get(where, (0, ""))[0] >= end for where, end in ends.items())


def _refuse_backwards(begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> None:
    faults = [
        f"{where.topic}:{where.partition}: its end, {ends[where]}, is before its beginning, {begin}"
        for where, begin in begins.items()
        if ends[where] < begin
    ]
    if faults:
        raise KaufmannError("\n".join(faults))


def _own(config: Config) -> Config:
    """Return the settings by which it reads."""
    return replace(config, consumer_group=f"{config.consumer_group}.reinit")


def _bounds(config: Config) -> Config:
    """Return the settings of the group whose commits are the ends."""
    return replace(config, consumer_group=f"{config.consumer_group}.reinit.bounds")
