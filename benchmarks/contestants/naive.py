"""The naive bridge: poll, decode, `delay` for each event, commit; a Celery worker on Redis does the rest.

What it guarantees: that an event's task is in Redis before the event is committed. What not: all that comes after.
Celery acknowledges a task before it runs, so a worker's death loses those it had taken; Redis' death loses all; nothing
holds the bridge back while workers are slow; what fails is a line in the worker's log.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from benchmarks.contestants.bare import consumer_of, until_terminated
from benchmarks.processes import modules, worker
from benchmarks.scene import Scene
from benchmarks.traffic import create, decoded, fill, records_in
from benchmarks.watching import watched

_POLL_MS = 50
_WORKER = "benchmarks.contestants.naive_worker"


def run(scene: Scene) -> float:
    """Run the bridge and a worker."""
    return _run(scene, {}, lambda: True)


def answers(scene: Scene) -> float:
    """The same; each task produces one output, and the run lasts until Kafka has them all."""
    out = f"{scene.topic}.out"
    create(scene.stack, out)
    return _run(scene, {"BENCH_ANSWERS_TO": out}, lambda: records_in(scene.stack, out) >= scene.events)


def _run(scene: Scene, more: Mapping[str, str], is_out: Callable[[], bool]) -> float:
    environ = {**scene.environ, **more}
    written = fill(scene.stack, scene.topic, scene.events)
    with (
        worker(_WORKER, environ, scene.handler.processes),
        modules("benchmarks.contestants.naive", environ) as bridge,
    ):
        return watched(scene, written, bridge, is_out)


def main() -> None:
    """Be the bridge, until SIGTERM."""
    from benchmarks.contestants.naive_worker import work

    consumer, signals = consumer_of(os.environ["BENCH_TOPIC"]), until_terminated()
    while not signals:
        polled = consumer.poll(_POLL_MS)
        for records in polled.values():
            for record in records:
                work.delay(decoded(record.value))
        if polled:
            consumer.commit()
    consumer.close()
