"""Where in a partition somebody wants to be: in words, and as an offset. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from kaufmann_celery.errors import ConfigError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

Kind = Literal["earliest", "latest", "committed", "offset", "time", "shift"]


class NoSuchPlace(ConfigError):
    """What is asked for is no place, or none that a partition has."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known of a partition."""

    #: The first offset that is still there, and the one after the last that may be read.
    first: int
    end: int
    #: None where the group has not committed.
    committed: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A place that each partition may have somewhere else."""

    kind: Kind
    #: An offset, milliseconds since 1970, or by how much to move.
    number: int = 0

    def offset_in(self, bounds: Bounds, at_time: int | None = None) -> int:
        """Return the offset. *at_time*: the first one that is not older than the time asked for, None = no such.

        Raises `NoSuchPlace`. Only what is relative (a time, a shift) ends at the bounds by itself.
        """
        match self.kind:
            case "earliest":
                return bounds.first
            case "latest":
                return bounds.end
            case "time":
                return bounds.end if at_time is None else min(max(at_time, bounds.first), bounds.end)
            case "offset":
                return _checked(self.number, bounds)
        if bounds.committed is None:
            raise NoSuchPlace("the group has not committed here; give earliest, latest, an offset or a time")
        if self.kind == "committed":
            return min(max(bounds.committed, bounds.first), bounds.end)
        return min(max(bounds.committed + self.number, bounds.first), bounds.end)

    def __str__(self) -> str:
        if self.kind == "time":
            return datetime.fromtimestamp(self.number / 1000, UTC).isoformat()
        if self.kind == "shift":
            return f"{self.number:+d}"
        return str(self.number) if self.kind == "offset" else self.kind


def place_of(text: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Place:
    """Read `earliest`, `latest`, `committed`, an offset, or a time as `time_of` does. Raises `NoSuchPlace`."""
    if text in ("earliest", "latest", "committed"):
        return Place(text)  # type: ignore[arg-type] # one of them
    if text.isdecimal():
        return Place("offset", int(text))
    try:
        return Place("time", milliseconds(time_of(text, now)))
    except NoSuchPlace as error:
        raise NoSuchPlace(f"expected earliest, latest, committed, an offset, or a time; {error}") from None


def time_of(text: str, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime:
    """Read an ISO 8601 time, UTC where it does not say otherwise, or how long ago: `90s`, `30m`, `24h`, `7d`.

    Raises `NoSuchPlace`.
    """
    try:
        if ago := re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text):
            return now() - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise NoSuchPlace(f"{text} is no time: write 2026-01-31T12:00:00 (UTC), or 24h for that long ago") from None


def milliseconds(moment: datetime) -> int:
    """Return Kafka's form of a time."""
    return max(0, int(moment.timestamp() * 1000))


def _checked(offset: int, bounds: Bounds) -> int:
    if offset > bounds.end:
        raise NoSuchPlace(f"offset {offset} is beyond its end, {bounds.end}")
    if offset < bounds.first:
        raise NoSuchPlace(f"offset {offset} is before its first record, {bounds.first}: retention has removed it")
    return offset
