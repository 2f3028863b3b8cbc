"""This project: an ingester, and a Celery worker of as many processes as the handler asks for.

It is timed by its own ingester: from the first event handed out, which is before any is handled, to the last offset
committed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from contextlib import AbstractContextManager

from benchmarks.handling import handled
from benchmarks.processes import modules, worker
from benchmarks.scene import RunFailed, Scene
from benchmarks.traffic import create, fill

_SERVICE = "benchmarks.service"
_WIDE = {"KAUFMANN_MAX_DEMAND": "2000"}


def defaults(scene: Scene) -> float:
    """All settings as they come."""
    return _run(scene, {})


def wide(scene: Scene) -> float:
    """`max_demand` 2,000."""
    return _run(scene, _WIDE)


def answers(scene: Scene) -> float:
    """An output for each event."""
    create(scene.stack, f"{scene.topic}.out")
    return _run(scene, {**_WIDE, "BENCH_ANSWERS": "1", "KAUFMANN_DEFAULT_PUBLISH_TOPIC": f"{scene.topic}.out"})


def exactly_once(scene: Scene) -> float:
    """An output for each event, in transactions."""
    create(scene.stack, f"{scene.topic}.out")
    answering = {"BENCH_ANSWERS": "1", "KAUFMANN_DEFAULT_PUBLISH_TOPIC": f"{scene.topic}.out"}
    return _run(scene, {**_WIDE, **answering, "KAUFMANN_DELIVERY": "exactly_once"})


def by_key(scene: Scene) -> float:
    """Events of one key one after the other."""
    return _run(scene, {**_WIDE, "KAUFMANN_ORDERING": "key"})


def failing(scene: Scene) -> float:
    """Every other event fails, and an error event is published."""
    create(scene.stack, f"{scene.topic}.errors")
    return _run(scene, {**_WIDE, "BENCH_FAILING": "1", "KAUFMANN_ERROR_TOPIC": f"{scene.topic}.errors"})


def _run(scene: Scene, more: Mapping[str, str]) -> float:
    fill(scene.stack, scene.topic, scene.events)
    environ = {**scene.environ, **more}
    with worker(_SERVICE, environ, scene.handler.processes), ingesters(environ) as running:
        found = said_by(running[0], scene.patience_s)
    if handled(scene.counts) != scene.events:
        raise RunFailed(f"{scene.events:,} events were handled {handled(scene.counts):,} times")
    return found["ended"] - found["began"]


def ingesters(environ: Mapping[str, str], count: int = 1) -> AbstractContextManager[list[subprocess.Popen[bytes]]]:
    """Run ingesters that end with their topic."""
    return modules(_SERVICE, environ, count, function="measure", stdout=subprocess.PIPE)


def said_by(ingester: subprocess.Popen[bytes], patience_s: float) -> dict[str, float]:
    """Wait for an ingester to end, and return what `service.measure` says of it."""
    try:
        out, _ = ingester.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired as error:
        raise RunFailed(f"the ingester had not ended after {patience_s:.0f} s") from error
    if ingester.returncode:
        raise RunFailed(f"the ingester ended with {ingester.returncode}")
    said: dict[str, float] = json.loads(out)
    return said
