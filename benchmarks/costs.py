"""Where the time goes: microseconds of processor time per event, by process, and Redis' own count of its work.

Processor time, not the clock's: it says much the same on a machine that does other things too. With `--steps` also
what each step of ingester and worker takes, by py-spy, which is in `.venv-bench` and may have to be root's.

`python -m benchmarks.costs [--events 60000] [--max-demand 2000] [--answers] [--delivery exactly_once]
[--ordering key] [--processes 8] [--steps]`; the handler does what the environment says: `BENCH_SLEEP_MS`,
`BENCH_CPU_MS`, and with `BENCH_FAILING` every other event fails.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from benchmarks.contestants.ours import ingesters, said_by
from benchmarks.processes import unwind_at_sigterm, worker
from benchmarks.spending import Spending, children, known_stack
from benchmarks.steps import STEPS, Watching
from benchmarks.traffic import ANSWER, NAME, Settings, create, fill, register

PATIENCE_S = 600.0


def main() -> None:
    """Start a stack of its own and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--max-demand", type=int, default=2_000)
    parser.add_argument("--answers", action="store_true")
    parser.add_argument("--delivery", default="at_least_once")
    parser.add_argument("--ordering", default="unordered")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    unwind_at_sigterm()
    with known_stack() as (settings, services), tempfile.TemporaryDirectory() as directory:
        measure(options, settings, services, Path(directory))


def measure(options: Any, stack: Settings, services: Mapping[str, int], directory: Path) -> None:
    """Run the ingester to the end of a topic, and print what that took of each process."""
    environ = {**os.environ, **stack, **settings_of(options, stack)}
    with worker("benchmarks.service", environ, options.processes) as main_pid:
        groups = {
            "worker main": [main_pid],
            "worker children": children(main_pid),
            "redis": [services["redis"]],
            "kafka": [services["kafka"]],
        }
        client = redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"])
        client.config_resetstat()
        spending = Spending(groups)
        with ingesters(environ) as running:
            one_of_each = {name: pids[0] for name, pids in groups.items() if name in STEPS}
            watching = Watching({"ingester": running[0].pid, **one_of_each}, directory) if options.steps else None
            found = said_by(running[0], PATIENCE_S)
        spent = spending.so_far()
        stats: Any = client.info("commandstats")
        carried: Any = client.info("stats")
    per_event = 1e6 / options.events
    seconds = found["ended"] - found["began"]
    print(
        f"{options.events / seconds:,.0f} events/s, {seconds:.2f} s; the ingester's start {found['start_cpu_s']:.2f} s"
    )
    shares = watching.shares() if watching else {}
    for name, cpu_s in {"ingester": found["cpu_s"], **spent}.items():
        print(f"{name:36} {cpu_s * per_event:8.1f} us/event")
        for step, share in shares.get(name, {}).items():
            print(f"  {step:34} {share * cpu_s * per_event:8.1f}")
    commands = sum(one["calls"] for one in stats.values()) / options.events
    taken, given = (carried[f"total_net_{way}put_bytes"] / options.events for way in ("in", "out"))
    print(f"redis: {commands:.2f} commands/event, in scripts too; {taken:,.0f} bytes/event to it, {given:,.0f} from it")
    for name, one in sorted(stats.items(), key=lambda pair: -pair[1]["usec"])[:14]:
        calls, spent_us = one["calls"] / options.events, one["usec"] / options.events
        print(f"  {name.removeprefix('cmdstat_'):26} {calls:8.3f} calls/event {spent_us:8.2f} us/event")


def settings_of(options: Any, stack: Settings) -> dict[str, str]:
    """Fill a topic, and return the settings with which it is consumed."""
    register(stack, NAME, ANSWER)
    topic = f"costs-{time.time_ns()}"
    fill(stack, topic, options.events)
    create(stack, f"{topic}.out")
    return {
        "BENCH_TOPIC": topic,
        "BENCH_ANSWERS": "1" if options.answers else "",
        "KAUFMANN_MAX_DEMAND": str(options.max_demand),
        "KAUFMANN_DEFAULT_PUBLISH_TOPIC": f"{topic}.out",
        "KAUFMANN_DELIVERY": options.delivery,
        "KAUFMANN_ORDERING": options.ordering,
    }


if __name__ == "__main__":
    main()
