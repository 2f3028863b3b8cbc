"""A service whose handler does nothing, or answers with what it got, and how long its ingester takes."""

import logging
import os
import threading
import time
from typing import Any

import redis

from kaufmann_celery import Event, Kaufmann

kaufmann = Kaufmann(os.environ.get("BENCH_TOPIC", "bench"))
celery = kaufmann.celery
ANSWERS = bool(os.environ.get("BENCH_ANSWERS"))
#: A list in Redis, for how long each event took to get here.
LATENCIES = os.environ.get("BENCH_LATENCIES")


@kaufmann.on("order.placed")
def handle(event: Event) -> tuple[str, Any] | None:
    """Do nothing, or answer."""
    if LATENCIES:
        took = time.time() - float(event.payload["note"])
        redis.Redis.from_url(kaufmann.config.redis_url).rpush(LATENCIES, took)
    return ("order.confirmed", event.payload) if ANSWERS else None


def measure() -> None:
    """Print the seconds from the first event handed out to the last one committed."""
    logging.basicConfig(level=logging.WARNING)
    ingester = kaufmann.ingester(until_end=True)
    began: list[float] = []

    def watch() -> None:
        while not ingester.outstanding:
            time.sleep(0.001)
        began.append(time.perf_counter())

    threading.Thread(target=watch, daemon=True).start()
    ingester.run()
    print(time.perf_counter() - began[0])
