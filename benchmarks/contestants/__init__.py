"""What is compared. A contestant is a function: given a `Scene`, it returns the seconds that its run took.

bare        poll, decode, call, commit, in one process: no Celery, no parallel work
naive       poll, decode, `delay` for each event: what one writes first; also with an output for each
ours        this project, as it comes and with other settings
peers       what else Python has: faststream, quixstreams, sentry-arroyo
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.contestants import bare, naive, ours, peers
from benchmarks.scene import Scene


@dataclass(frozen=True, slots=True)
class Contestant:
    """One line of the table."""

    name: str
    title: str
    run: Callable[[Scene], float]
    #: Events a second that it is expected to reach; a run has as many as take some seconds.
    expected_per_s: float
    #: The handlers it runs with.
    handlers: tuple[str, ...] = ("0 ms",)
    #: Whether it runs its handler in one process, one event after the other, whatever the others do.
    is_single: bool = False


_ALL = ("0 ms", "1 ms", "10 ms", "100 ms", "5 ms CPU")
_FAILING, _PEERS = ("0 ms", "1 ms", "10 ms"), ("0 ms", "10 ms")

CONTESTANTS: Mapping[str, Contestant] = {
    one.name: one
    for one in (
        Contestant("bare", "no Celery: poll, decode, call in one process", bare.run, 80_000, _ALL, is_single=True),
        Contestant("naive", "a task per event: poll, decode, `delay`", naive.run, 700, _ALL),
        Contestant("naive_answers", "the same, each task produces an output", naive.answers, 500),
        Contestant("defaults", "this, as it comes (`max_demand` 50)", ours.defaults, 5_000, _ALL),
        Contestant("ours", "this, `max_demand` 2,000", ours.wide, 15_000, _ALL),
        Contestant("answers", "the same, each event answered by an output", ours.answers, 5_000),
        Contestant("exactly_once", 'the same, `delivery="exactly_once"`', ours.exactly_once, 4_000),
        Contestant("by_key", '`max_demand` 2,000, `ordering="key"`', ours.by_key, 12_000),
        Contestant("failing", "`max_demand` 2,000, every other event fails", ours.failing, 7_000, _FAILING),
        Contestant("faststream", "faststream, an event at a time", peers.faststream, 900, _PEERS),
        Contestant("faststream_batches", "faststream, in batches", peers.faststream_batches, 80_000, _PEERS),
        Contestant("quixstreams", "quixstreams", peers.quixstreams, 50_000, _PEERS),
        Contestant("arroyo", "sentry-arroyo", peers.arroyo, 40_000, _PEERS),
    )
}  # fmt: skip
