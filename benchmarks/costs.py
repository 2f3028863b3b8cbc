"""Where the time goes: microseconds of processor time per event, by process, and Redis' own count of its work.

Processor time, not the clock's: it says much the same on a machine that does other things too.

`python -m benchmarks.costs [--events 60000] [--max-demand 2000] [--answers] [--delivery exactly_once]`
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis

from benchmarks.compare import SCHEMA, Settings, create, fill, worker
from kaufmann_celery.local import LocalStack
from kaufmann_celery.local.guard import TEMPORARY
from kaufmann_celery.registry.client import SchemaRegistry

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """Return the processes that *pid* has started."""
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(one) for one in found.split()]


def spent_s(*pids: int) -> float:
    """Return the seconds of processor time that processes have used."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICKS_PER_S


def main() -> None:
    """Start a stack of its own and measure on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--max-demand", type=int, default=2_000)
    parser.add_argument("--answers", action="store_true")
    parser.add_argument("--delivery", default="at_least_once")
    parser.add_argument("--ordering", default="unordered")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    directory = Path(".kaufmann/costs")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / TEMPORARY).touch()
    stack = LocalStack(directory)
    settings = stack.up(owner_pid=os.getpid())
    try:
        measure(options, settings, {one.name: one.pid for one in stack.status() if one.pid})
    finally:
        stack.down()


def measure(options: Any, stack: Settings, services: Mapping[str, int]) -> None:
    """Run the ingester to the end of a topic, and print what that took of each process."""
    environ = {**os.environ, **stack, **settings_of(options, stack)}
    with worker("benchmarks.noop_service", environ, options.processes) as main_pid:
        groups = {
            "worker main": [main_pid],
            "worker children": children(main_pid),
            "redis": [services["redis"]],
            "kafka": [services["kafka"]],
        }
        client = redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"])
        client.config_resetstat()
        before = {name: spent_s(*pids) for name, pids in groups.items()}
        script = "import os; from benchmarks.noop_service import measure; measure(); print(sum(os.times()[:2]))"
        done = subprocess.run(
            [sys.executable, "-c", script], env=environ, stdout=subprocess.PIPE, text=True, check=True
        )
        seconds, own = map(float, done.stdout.split())
        spent = {name: spent_s(*pids) - before[name] for name, pids in groups.items()}
        stats: Any = client.info("commandstats")
    per_event = 1e6 / options.events
    print(f"{options.events / seconds:,.0f} events/s, {seconds:.2f} s")
    print(f"{'ingester (with its start)':28} {own * per_event:8.1f} us/event")
    for name, found in spent.items():
        print(f"{name:28} {found * per_event:8.1f} us/event")
    for name, one in sorted(stats.items(), key=lambda pair: -pair[1]["usec"])[:14]:
        calls, spent_us = one["calls"] / options.events, one["usec"] / options.events
        print(f"  {name.removeprefix('cmdstat_'):26} {calls:8.3f} calls/event {spent_us:8.2f} us/event")


def settings_of(options: Any, stack: Settings) -> dict[str, str]:
    """Fill a topic, and return the settings with which it is consumed."""
    for subject in ("order.placed", "order.confirmed"):
        SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]]).register(subject, SCHEMA)
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
