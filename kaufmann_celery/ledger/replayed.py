"""Which events were replayed: kept beside the ledgers, for as long as somebody might replay them once more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from kaufmann_celery.ledger.connection import LedgerConnection, translated

#: Seconds after a partition's last replay for which it is known what was replayed there.
_KEPT_S = 365 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Replay:
    """What is known of one event's replays."""

    #: The record's timestamp, by which it is told from another that stands there later.
    timestamp_ms: int
    #: How often it was asked for, and when last, in milliseconds since 1970.
    times: int
    asked_at_ms: int
    #: False: it may be under way.
    is_done: bool = False


class Replays:
    """Reads and notes. One process at a time; each method raises `UnavailableError` where Redis is away.

    A *base* is that of the ledger by which the partition is replayed.
    """

    def __init__(self, connection: LedgerConnection) -> None:
        self._connection = connection

    def of(self, bases: Iterable[str]) -> list[dict[int, Replay]]:
        """Return what is known of each partition's offsets."""
        with translated:
            found: list[Any] = [self._connection.client.hgetall(_key(base)) for base in bases]
        return [{int(offset): _read(entry.decode()) for offset, entry in one.items()} for one in found]

    def note(self, base: str, replays: Mapping[int, Replay]) -> None:
        """Note what became of offsets."""
        if not replays:
            return
        entries: dict[Any, Any] = {str(offset): _written(one) for offset, one in replays.items()}
        with translated:
            self._connection.client.hset(_key(base), mapping=entries)
            self._connection.client.expire(_key(base), _KEPT_S)

    def forget(self, base: str, offsets: Sequence[int]) -> None:
        """Forget that offsets were asked for."""
        if offsets:
            with translated:
                self._connection.client.hdel(_key(base), *map(str, offsets))


def _key(base: str) -> str:
    return f"{base}:replayed"


def _written(replay: Replay) -> str:
    return " ".join(str(int(value)) for value in astuple(replay))


def _read(entry: str) -> Replay:
    timestamp_ms, times, asked_at_ms, is_done = map(int, entry.split(" "))
    return Replay(timestamp_ms, times, asked_at_ms, bool(is_done))
