"""`python -m benchmarks [--quick] [--rounds 3] [--only ours,naive]`, or `make bench`: runs, table, picture.

What was measured for this commit before is not measured again: stop it, and start it again, as you like.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import redis

from benchmarks.contestants import CONTESTANTS
from benchmarks.handling import HANDLERS
from benchmarks.latency import latencies, percentiles
from benchmarks.plan import ARRIVALS, LATENCY, events_of, handlers, plan, titles
from benchmarks.plot import plot
from benchmarks.processes import unwind_at_sigterm
from benchmarks.results import Planned, results_of_commit
from benchmarks.scene import Scene, note, say_failed
from benchmarks.table import tables
from benchmarks.traffic import ANSWER, NAME, Settings, delete, register
from kaufmann_celery.local import temporary_stack

DIRECTORY = Path(".kaufmann/bench")
#: What a quick run is of a whole one, and the seconds by which a run may be late before it has failed.
_QUICK_SHARE, _PATIENCE_S = 0.25, 90.0
#: Events that come one by one, and seconds for which others come, when latency is measured.
_IDLE_EVENTS, _ARRIVING_S = 1_000, 10.0


def main() -> None:
    """Make the runs that are not there yet, and show all."""
    options = _options()
    unwind_at_sigterm()
    results = results_of_commit(DIRECTORY, "-quick" if options.quick else "")
    todo = [one for one in plan(options.rounds, quick=options.quick, only=options.only) if one not in results]
    made = []
    if todo:
        print(f"{len(todo)} runs; what is done is kept: stopped and started again, it goes on", flush=True)
        with temporary_stack() as stack:
            _prepare(stack)
            share = _QUICK_SHARE if options.quick else 1.0
            for number, planned in enumerate(todo, 1):
                made.append(note(results, planned, f"{number}/{len(todo)}", partial(_made, stack, planned, share)))
    print(f"\n{tables(results, titles(), handlers())}\n")
    picture = DIRECTORY / f"{results.about['commit']}{'-quick' if options.quick else ''}.png"
    plot(results, titles(), handlers(), picture)
    print(f"{picture.with_suffix('.json')}\n{picture}")
    say_failed(made)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="each run once and shorter; not all handlers")
    parser.add_argument("--rounds", type=int, help="3, quick 1")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="contestants")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    return options


def _prepare(stack: Settings) -> None:
    """Register the schemas, and have Kafka do everything once: what it does first takes it longer."""
    register(stack, NAME, ANSWER)
    _measured(stack, "bare", "0 ms", "warming-up", share=0.05)


def _made(stack: Settings, planned: Planned, share: float) -> Mapping[str, float]:
    """Make a run; *share* is how much shorter than a whole one."""
    if planned.contestant == LATENCY:
        rate = ARRIVALS[planned.case]
        events = _IDLE_EVENTS if rate is None else rate * _ARRIVING_S
        return percentiles(latencies(stack, planned.topic, round(events * share), rate))
    return _measured(stack, planned.contestant, planned.case, planned.topic, share=share)


def _measured(stack: Settings, contestant: str, handler_name: str, topic: str, *, share: float) -> Mapping[str, float]:
    """Make one run on an empty Redis and a topic of its own."""
    one, handler = CONTESTANTS[contestant], HANDLERS[handler_name]
    events = events_of(one, handler, share=share)
    redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"]).flushall()
    with tempfile.TemporaryDirectory(prefix="bench-") as counts:
        scene = Scene(stack, topic, events, handler, Path(counts), patience_s=_PATIENCE_S + 3 * handler.run_s)
        try:
            seconds = one.run(scene)
        finally:
            delete(stack, topic)
    return {"per_s": events / seconds, "events": events, "seconds": seconds}


if __name__ == "__main__":
    main()
