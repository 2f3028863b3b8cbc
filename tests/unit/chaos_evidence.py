"""Evidence of a small run in which all went well, for tests to doctor."""

from __future__ import annotations

import base64
import zlib
from dataclasses import replace
from itertools import pairwise

from tests.chaos.checker import check
from tests.chaos.checks.verdict import Verdict
from tests.chaos.evidence import Commit, Evidence, Incident, Life, Ownership, Published, Sample, Sent, Setting
from tests.chaos.journal import Run

#: When the first event was sent; one follows each second.
START = 1000.0
EVENTS = 10


def good(**setting: str) -> Evidence:
    """Return a run of ten events of one partition, one lane, each a tenth of a second long; one commit at its end."""
    return Evidence(
        setting=Setting(**setting),  # type: ignore[arg-type] # delivery and ordering
        sent=[Sent(0, number, "plain", "key", START + number) for number in range(EVENTS)],
        runs=[run(number) for number in range(EVENTS)],
        published=[output(number) for number in range(EVENTS)],
        commits=[Commit(0, EVENTS, metadata(EVENTS, EVENTS - 1), START + EVENTS)],
        lives=[life("ingester", 10), life("worker", 20)],
        owners=[Ownership(START, 0, "one")],
        samples=[Sample(START, "one", 1, 1)],
        began=START,
    )


def run(offset: int, *, at: float = 0.1, lasts: float | None = 0.1, **fields: object) -> Run:
    """Return a run that begins *at* seconds after its event was sent; None: it never ended."""
    started = START + offset + at
    ended = None if lasts is None else started + lasts
    made = Run(
        run=f"run-{offset}-{at}", partition=0, offset=offset, attempt=1, pid=21, parent=20, task=f"task-{offset}-{at}",
        started=started, ended=ended, status=None if ended is None else "ok",
    )  # fmt: skip
    return replace(made, **fields)  # type: ignore[arg-type] # any field


def output(offset: int, *, at: float = 0.3, **fields: object) -> Published:
    """Return what an event published, so many seconds after it was sent."""
    made = Published(0, offset, 0, f"id-{offset}", f"digest-{offset}", "", START + offset + at, f"out:0:{offset}@{at}")
    return replace(made, **fields)  # type: ignore[arg-type] # any field


def life(role: str, pid: int) -> Life:
    """Return a process that ended as it was asked to."""
    return Life(role, f"{role}-0", pid, START - 10, START + 100, "SIGTERM", START + 99, "0")


def fault(kind: str, at: float, **fields: object) -> Incident:
    """Return a fault that is over at once, so many seconds after the start."""
    made = Incident(kind, START + at, START + at)
    return replace(made, **fields)  # type: ignore[arg-type] # any field


def metadata(offset: int, highest: int, unfinished: tuple[int, ...] = ()) -> str:
    """Return what goes with a commit: gaps of less than 128, in one byte each."""
    places = [offset, *unfinished]
    gaps = [after - before for before, after in pairwise(places)]
    body = b"v" + bytes([highest + 1 - offset, *gaps])
    seal = zlib.crc32(f"abc {offset} ".encode() + body).to_bytes(4, "big")
    return f"kc1.abc.{base64.urlsafe_b64encode(body + seal).rstrip(b'=').decode()}"


def off(evidence: Evidence) -> dict[str, int]:
    """Return the figures that are off."""
    return {name: verdict.count for name, verdict in judged(evidence).items() if verdict.count}


def judged(evidence: Evidence) -> dict[str, Verdict]:
    """Return every verdict by its name."""
    return {verdict.name: verdict for verdict in check(evidence)}
