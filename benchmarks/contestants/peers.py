"""What else Python has for it, each as its own documentation says for at-least-once, in a file of its own.

Their consumers join their group before there is anything to read (`traffic.gated`), so that nobody's start is timed.
None has workers apart from its consumers. They have as much in parallel as the others have worker processes: processes
where their handler computes, and where it waits, threads or consumers in one process if they offer these.
"""

from __future__ import annotations

from benchmarks.processes import modules
from benchmarks.scene import Scene
from benchmarks.traffic import PARTITIONS, gated
from benchmarks.watching import Group, time_when, watched


def faststream(scene: Scene) -> float:
    """Events one by one, each acknowledged when handled; consumers in one process where the handler waits."""
    processes, threads = _shared_out(scene)
    return _run(scene, "faststream_each", processes, threads, members=processes * threads)


def faststream_batches(scene: Scene) -> float:
    """A batch at a time, acknowledged when all of it is handled; by threads where the handler waits."""
    return _run(scene, "faststream_batches", *_shared_out(scene))


def arroyo(scene: Scene) -> float:
    """Events one by one, committed once a second; by threads where the handler waits."""
    return _run(scene, "arroyo_tasks", *_shared_out(scene))


def quixstreams(scene: Scene) -> float:
    """Events one by one, committed at each checkpoint; it has neither threads nor several consumers in a process."""
    return _run(scene, "quix_application", scene.handler.processes, 1)


def _shared_out(scene: Scene) -> tuple[int, int]:
    """Return how many processes and how many threads in each."""
    return (1, scene.handler.processes) if scene.handler.sleep_ms else (scene.handler.processes, 1)


def _run(scene: Scene, module: str, processes: int, threads: int, *, members: int | None = None) -> float:
    environ = {**scene.environ, "BENCH_THREADS": str(threads)}
    with (
        gated(scene.stack, scene.topic, scene.events) as (written, open_gate),
        modules(f"benchmarks.contestants.{module}", environ, processes) as running,
    ):
        group = Group(scene)
        time_when(scene, lambda: group.is_shared_out(members or processes, PARTITIONS), running)
        open_gate()
        return watched(scene, written, running)
