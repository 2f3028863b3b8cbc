"""`make bench-scaling`: what an event costs with more partitions, backlog, `max_demand`, bytes, names and processes.

One thing at a time differs from `BASE`; the handler does nothing. The results stand beside those of `make bench`, and
what is there is not measured again. `python -m benchmarks.scaling [--rounds 1] [--only backlog,names]`
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import redis

from benchmarks.contestants.ours import ingesters, said_by
from benchmarks.processes import unwind_at_sigterm, worker
from benchmarks.results import Planned, Results, results_of_commit
from benchmarks.scene import note, say_failed
from benchmarks.spending import Spending, children, known_stack
from benchmarks.table import markdown, spread
from benchmarks.traffic import BYTES, NAME, PARTITIONS, Settings, delete, fill, register

DIRECTORY = Path(".kaufmann/bench")
_SPENDERS = ("ingester", "worker", "redis", "kafka")
#: Seconds after which a run has failed: 60, and those that its events take at a rate which would be a fault.
_PATIENCE_S, _LEAST_PER_S = 60.0, 1_000


@dataclass(frozen=True, slots=True)
class Load:
    """What is put on the system."""

    backlog: int = 100_000
    partitions: int = PARTITIONS
    max_demand: int = 2_000
    event_bytes: int = BYTES
    names: int = 1
    ingesters: int = 1
    workers: int = 1

    @property
    def event_names(self) -> list[str]:
        """The names its events have, in turn."""
        return [NAME, *(f"order.kind-{number:03d}" for number in range(1, self.names))]


BASE = Load()
#: What differs, how, and how many events that run has where 100,000 would take too long.
_VARIED: Mapping[str, Sequence[Mapping[str, int]]] = {
    "partitions": [{"partitions": count} for count in (1, 4, 16, 64)],
    "backlog": [{"backlog": count} for count in (10_000, 500_000, 2_000_000)],
    "max_demand": [
        {"max_demand": 50, "backlog": 40_000},
        *({"max_demand": most} for most in (200, 1_000, 5_000)),
    ],
    "event_bytes": [
        {"event_bytes": 100},
        {"event_bytes": 1_000},
        {"event_bytes": 10_000, "backlog": 20_000},
        {"event_bytes": 100_000, "backlog": 4_000},
    ],
    "names": [{"names": count} for count in (10, 50, 200)],
    "ingesters": [{"ingesters": count} for count in (2, 4)],
    "workers": [{"workers": count} for count in (2, 4)],
    "ingesters and workers": [{"ingesters": count, "workers": count} for count in (2, 4)],
}


def loads() -> Iterator[tuple[str, str, Load]]:
    """Yield what differs, its value as text, and the load."""
    yield "base", "", BASE
    for what, all_changes in _VARIED.items():
        for changes in all_changes:
            yield what, f"{_value(changes):,}", replace(BASE, **changes)


def _value(changes: Mapping[str, int]) -> int:
    """Return what stands for a row: the first of what differs."""
    return next(iter(changes.values()))


def main() -> None:
    """Make the runs that are not there yet, and show all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="what differs")
    options = parser.parse_args()
    unwind_at_sigterm()
    results = results_of_commit(DIRECTORY)
    todo = [
        (planned, load)
        for number in range(1, options.rounds + 1)
        for what, value, load in loads()
        if (planned := Planned(what, value, number)) not in results and (not options.only or what in options.only)
    ]
    made = []
    if todo:
        with known_stack() as (stack, services):
            for number, (planned, load) in enumerate(todo, 1):
                measure = partial(measured, stack, services, load, planned.topic)
                made.append(note(results, planned, f"{number}/{len(todo)}", measure))
    print(f"\n{tables(results)}\n")
    say_failed(made)


def measured(stack: Settings, services: Mapping[str, int], load: Load, topic: str) -> dict[str, float]:
    """Run ingesters and workers to the end of a topic; return microseconds per event, and the rest."""
    redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"]).flushall()
    register(stack, *load.event_names)
    fill(stack, topic, load.backlog, partitions=load.partitions, names=load.event_names, size=load.event_bytes)
    environ = {
        **stack,
        "BENCH_TOPIC": topic,
        "BENCH_NAMES": ",".join(load.event_names),
        "KAUFMANN_MAX_DEMAND": str(load.max_demand),
    }
    patience_s = _PATIENCE_S + load.backlog / _LEAST_PER_S
    with ExitStack() as running:
        running.callback(delete, stack, topic)
        mains = [
            running.enter_context(worker("benchmarks.service", environ, name=f"bench{number}"))
            for number in range(load.workers)
        ]
        pids = [pid for main_pid in mains for pid in (main_pid, *children(main_pid))]
        spending = Spending({"worker": pids, "redis": [services["redis"]], "kafka": [services["kafka"]]})
        started = running.enter_context(ingesters(environ, load.ingesters))
        said = [said_by(one, patience_s) for one in started]
        spent = {"ingester": sum(one["cpu_s"] for one in said), **spending.so_far()}
    seconds = max(one["ended"] for one in said) - min(one["began"] for one in said)
    costs = {f"{name}_us": spent[name] * 1e6 / load.backlog for name in _SPENDERS}
    return {"per_s": load.backlog / seconds, **costs, "ingester_mb": max(one["peak_mb"] for one in said)}


def tables(results: Results) -> str:
    """Return a table for each thing that differs, with the base in its place."""
    parts = [f"commit {results.about['commit']}; microseconds of processor time per event"]
    for what in _VARIED:
        base = f"{getattr(BASE, next(iter(_VARIED[what][0]))):,}"
        cases = sorted([*results.cases(what), base], key=lambda case: int(case.replace(",", "")))
        rows = [_row(results, *(("base", "") if case == base else (what, case)), shown=case) for case in cases]
        head = [what, "events/s", *_SPENDERS, "all", "ingester's memory"]
        parts.append(markdown(head, [row for row in rows if row]))
    return "\n\n".join(parts)


def _row(results: Results, what: str, case: str, *, shown: str) -> list[str]:
    rates = results.found(what, case)
    if not rates:
        return []
    costs = [results.median(what, case, f"{name}_us") or 0.0 for name in _SPENDERS]
    memory = results.median(what, case, "ingester_mb") or 0.0
    return [shown, spread(rates), *(f"{cost:.0f}" for cost in costs), f"{sum(costs):.0f}", f"{memory:.0f} MB"]


if __name__ == "__main__":
    main()
