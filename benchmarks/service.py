"""The service whose speed is measured: its handler does what `handling` says, and may answer with what it got."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from collections.abc import Generator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import redis

from benchmarks.handling import handle
from benchmarks.processes import say_when_ready
from benchmarks.traffic import ANSWER, NAME
from kaufmann_celery import Event, Kaufmann, Middleware
from kaufmann_celery.cli.ingest import collect_garbage_seldom

kaufmann = Kaufmann(os.environ.get("BENCH_TOPIC", "bench"))
celery = kaufmann.celery
ANSWERS = bool(os.environ.get("BENCH_ANSWERS"))
#: The events' names, where there are others than the one.
NAMES = os.environ.get("BENCH_NAMES", NAME).split(",")
#: A list in Redis, for when each event was sent and how long it took to get here.
LATENCIES = os.environ.get("BENCH_LATENCIES")

say_when_ready()


class Commits(Middleware):
    """Notes when Kafka had acknowledged the last commit: what the ingester does after it is no event's."""

    at = 0.0

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> Generator[None, None, None]:  # noqa: ARG002 - it notes only when
        """Note the time."""
        yield
        self.at = time.perf_counter()


@kaufmann.on(*NAMES)
def on_event(event: Event) -> tuple[str, Any] | None:
    """Handle an event."""
    if LATENCIES:
        sent = float(event.payload["note"])
        notes().rpush(LATENCIES, json.dumps([sent, time.time() - sent]))
    handle(event.payload["order_id"])
    return (ANSWER, event.payload) if ANSWERS else None


@cache
def notes() -> Any:
    """Return this process' connection to Redis."""
    return redis.Redis.from_url(kaufmann.config.redis_url)


def measure() -> None:
    """Run an ingester to the end of the topic, and print as JSON what that took.

    `began`: when the first event was handed out; `ended`: all offsets are committed, by a clock that all processes
    share; `cpu_s` between these and `start_cpu_s` before; `peak_mb`, the most memory that it had.
    """
    # What it logs costs it time, an error event's line above all; nobody reads it here.
    logging.basicConfig(level=logging.WARNING, filename=os.devnull)
    commits = Commits()
    kaufmann.middleware.append(commits)
    ingester = kaufmann.ingester(until_end=True)
    began: list[tuple[float, float]] = []

    def watch() -> None:
        while not ingester.outstanding:
            time.sleep(0.001)
        began.append((time.perf_counter(), time.process_time()))

    threading.Thread(target=watch, daemon=True).start()
    collect_garbage_seldom()
    ingester.run()
    ended, cpu_s = commits.at or time.perf_counter(), time.process_time()
    at, start_cpu_s = began[0] if began else (ended, cpu_s)
    said = {"began": at, "ended": ended, "cpu_s": cpu_s - start_cpu_s, "start_cpu_s": start_cpu_s}
    print(json.dumps({**said, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    # Not `getrusage`: its figure begins with what the process that started this one had.
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s*(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0
