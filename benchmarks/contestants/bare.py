"""The bare loop: poll, decode, call, commit; one process, one event after the other.

What it guarantees: an event is committed after it was handled. What not: an event that fails stops it or is lost.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from kafka import KafkaConsumer

from benchmarks.handling import handle
from benchmarks.processes import modules
from benchmarks.scene import Scene
from benchmarks.traffic import decoded, fill
from benchmarks.watching import watched

_COMMIT_S = 1.0
_POLL_MS = 50


def run(scene: Scene) -> float:
    """Run one loop."""
    written = fill(scene.stack, scene.topic, scene.events)
    with modules("benchmarks.contestants.bare", scene.environ) as processes:
        return watched(scene, written, processes)


def consumer_of(topic: str) -> Any:
    """Return the consumer that a user would make, and no record read and not handled is committed."""
    return KafkaConsumer(
        topic,
        bootstrap_servers=os.environ["KAUFMANN_BROKERS"],
        group_id=topic,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )


def until_terminated() -> list[int]:
    """Return a list that is empty until SIGTERM comes."""
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: signals.append(number))
    return signals


def main() -> None:
    """Handle events until SIGTERM, committing once a second and at the end."""
    consumer, signals, committed = consumer_of(os.environ["BENCH_TOPIC"]), until_terminated(), time.monotonic()
    while not signals:
        for records in consumer.poll(_POLL_MS).values():
            for record in records:
                handle(decoded(record.value)["order_id"])
        if time.monotonic() - committed > _COMMIT_S:
            consumer.commit()
            committed = time.monotonic()
    consumer.commit()
    consumer.close()
