"""What a reinit is to do, and what is kept of it in Kafka until it is done. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from kafka import TopicPartition

_FORM = "reinit 1"
#: What a commit's metadata has of its partition, besides the end, which is the commit itself.
_KEPT = ("begin", "first", "committed")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a reinit was asked for."""

    #: As `place_of` reads them.
    begin: str = "earliest"
    end: str = "latest"
    publish: bool = False
    #: As `choice_of` reads them; empty: all that the service consumes.
    topics: tuple[str, ...] = ()

    @classmethod
    def between(cls, starting_offset: str | int, target_offset: str | int, *, publish: bool) -> Asked:
        """Return what KaufmannEx's arguments ask for: to start at 0, its default, is to start at what is there."""
        return cls("earliest" if starting_offset == 0 else str(starting_offset), str(target_offset), publish)

    def __str__(self) -> str:
        topics = "".join(f" --topic {topic}" for topic in self.topics)
        return f"--from {self.begin} --to {self.end}{' --publish' * self.publish}{topics}"


@dataclass(frozen=True, slots=True)
class Part:
    """What is replayed of one partition."""

    topic: str
    partition: int
    #: Where it begins and where it ends: the first offset that is not replayed.
    begin: int
    end: int
    #: All before it is replayed already, by a call that was ended in the middle.
    reached: int
    #: The first offset that was there, and where the service's group was; None without a commit.
    first: int
    committed: int | None

    @property
    def where(self) -> TopicPartition:
        """The partition by kafka-python's name."""
        return TopicPartition(self.topic, self.partition)

    @property
    def never_handled(self) -> int:
        """Offsets before the end that the group had not come to."""
        return max(0, self.end - max(self.begin, self.first if self.committed is None else self.committed))

    @property
    def handled_again(self) -> int:
        """Offsets behind the end that the group had come to: its ingesters will come to them once more."""
        return 0 if self.committed is None else max(0, self.committed - self.end)


@dataclass(frozen=True, slots=True)
class Reinit:
    """What is to be done, or left to be done."""

    asked: Asked
    parts: tuple[Part, ...]
    #: It was begun by an earlier call.
    goes_on: bool

    @property
    def left(self) -> int:
        """Offsets that are yet to be replayed."""
        return sum(part.end - part.reached for part in self.parts)

    def as_metadata(self) -> dict[TopicPartition, str]:
        """Return what is kept of it with each commit of an end."""
        asked = {"form": _FORM, "asked": astuple(self.asked)}
        return {part.where: json.dumps(asked | {name: getattr(part, name) for name in _KEPT}) for part in self.parts}


def read_back(
    ends: Mapping[TopicPartition, tuple[int, str]], reached: Mapping[TopicPartition, tuple[int, str]]
) -> Reinit | None:
    """Return what was begun, by the commits of its ends and by those of the group that reads; None where nothing was.

    Of one that is finished the ends stay, and say nothing more.
    """
    parts, asked = [], None
    for where, (end, metadata) in sorted(ends.items()):
        said = _said(metadata)
        if said is not None:
            asked = said["asked"]
            at = min(max(reached.get(where, (0, ""))[0], said["begin"]), end)
            parts.append(
                Part(where.topic, where.partition, end=end, reached=at, **{name: said[name] for name in _KEPT})
            )
    if asked is None:
        return None
    begin, end_asked, publish, topics = asked
    return Reinit(Asked(begin, end_asked, publish, tuple(topics)), tuple(parts), goes_on=True)


def _said(metadata: str) -> Mapping[str, Any] | None:
    try:
        said = json.loads(metadata)
    except ValueError:
        return None
    return said if isinstance(said, dict) and said.get("form") == _FORM else None
