"""The ledger as a worker's run uses it: every call carries the run's id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from kaufmann_celery.ledger.address import UNTAGGED, keys_of
from kaufmann_celery.ledger.connection import LedgerConnection
from kaufmann_celery.ledger.spans import spans, spread

#: What a script is told of an event besides its offset.
_Said = tuple[str | int | bytes, ...]


@dataclass(slots=True)
class Report:
    """What became of one event in a run: an outcome, or a retry after so many seconds; or it was held back.

    Never changed; freezing it costs half a microsecond for each event.
    """

    offset: int
    d: int
    outcome: bytes = b""
    retry_in: float | None = None
    #: Not run: one before it in its lane did not succeed, or the handler of one before it takes long.
    held: bool = False


@dataclass(frozen=True, slots=True)
class RunLedger:
    """One run in one worker. Each method blocks for one round trip; all raise `UnavailableError`."""

    connection: LedgerConnection
    base: str
    incarnation: str
    #: Names the run among all of this partition's; the worker's main process can tell it too.
    run: str
    #: Seconds.
    lease: float
    #: The tag of who sent the task.
    tag: str = UNTAGGED
    #: Tells this execution from another of the same task in the same process.
    nonce: str = field(default_factory=lambda: uuid4().hex[:12], repr=False)

    def begin(self, events: Sequence[tuple[int, int]]) -> set[int]:
        """Lease (offset, d) pairs; return the offsets accepted. The others run elsewhere, are done, or are another
        owner's than who sent the task.

        Made again after `UnavailableError`, it accepts what the call before it got.
        """
        return set(spread(self._run("begin", self.run, self._lease_ms, self.nonce, self.tag, *_by_d(events))))

    def renew(self, events: Sequence[tuple[int, int]], size: int) -> set[int]:
        """Prolong the lease of (offset, d) pairs; return the offsets the run still holds. *size*: of its task."""
        return set(spread(self._run("renew", self.run, self._lease_ms, size, *_by_d(events))))

    def vouch(self) -> bool:
        """Prolong this run for the process that holds it; return whether there is such a run. Nothing is put back."""
        return bool(self._run("vouch", self.run, self._lease_ms))

    def finish(self, reports: Sequence[Report], *, last: bool, text: str) -> set[int]:
        """Report; return the offsets refused, because another run holds them or the ledger forgot them.

        *text* is for the owner; empty: it need not look yet.
        """
        said: list[tuple[int, _Said]] = []
        for report in reports:
            kind = "held" if report.held else "outcome" if report.retry_in is None else "retry"
            what = report.outcome if kind == "outcome" else int((report.retry_in or 0) * 1000)
            said.append((report.offset, (report.d, kind, what)))
        return set(spread(self._run("finish", self.run, int(last), text, *_alike(said))))

    def release(self, events: Sequence[tuple[int, int]], *, reason: str, at_fault: bool, text: str) -> int:
        """Say that the run ended without a report; return how many events go again.

        *at_fault*: whether it counts against an event that was alone in its task.
        """
        return int(self._run("release", self.run, reason, int(at_fault), text, *_by_d(events)))

    @property
    def _lease_ms(self) -> int:
        return int(self.lease * 1000)

    def _run(self, script: str, *args: str | int | bytes) -> Any:
        return self.connection.run(script, keys_of(self.base), [self.incarnation, *args])


def _by_d(events: Sequence[tuple[int, int]]) -> list[str | int | bytes]:
    return _alike((offset, (d,)) for offset, d in events)


def _alike(events: Iterable[tuple[int, _Said]]) -> list[str | int | bytes]:
    """Return spans of the events of which the same is said, each followed by that."""
    found: dict[_Said, list[int]] = {}
    for offset, said in events:
        found.setdefault(said, []).append(offset)
    return [part for said, offsets in found.items() for part in (spans(offsets), *said)]
