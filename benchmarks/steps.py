"""What each step takes of a process' time: py-spy looks who holds the interpreter's lock, and of each stack the
innermost function known here says the step. A process' time is shared out among these, with what it spends without the
lock, such as system calls. A stack without any such function is left out: the process starts.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from benchmarks.scene import RunFailed

#: Functions of this project, and where the work is done elsewhere, of kafka-python, Celery, kombu and billiard.
Steps = Mapping[str, tuple[str, ...]]

INGESTER: Steps = {
    "reading from Kafka": ("Consumption._run", "NetworkSelector.run_forever"),
    "decoding": ("DecodesAhead.decode", "DecodesAhead.go_on", "Dispatcher._decode_some"),
    "choosing and claiming": ("Dispatcher._claim", "Dispatcher._decode", "Ingester._loop"),
    "tasks to Celery": ("Dispatcher._send", "PublishBatch.flush"),
    "hearing from workers and ledgers": ("WakeListener._run", "Look._asked"),
    "publishing and settling": ("AtLeastOnce.deliver", "ExactlyOnce.deliver", "Sender.run", "Settler.settle"),
    "committing": ("Ingester._commit", "Ingester._hear", "Look.forget"),
}
MAIN: Steps = {
    "taking tasks from Redis": ("Channel._brpop_read",),
    "choosing a child": ("Consumer.create_task_handler.<locals>.on_task_received",),
    "to and from the children": ("AsynPool",),
    "the rest of Celery's loop": ("Consumer.start",),
}
CHILD: Steps = {
    "beginning": ("RunLedger.begin",),
    "unpacking": ("unpack",),
    "around the handler": ("TaskRun.run",),
    "handler": ("_emitted",),
    "outputs": ("TaskRun._composed",),
    "error event": ("TaskRun._failed",),
    "lines in the log": ("FailureLog.write", "FailureLog.add", "from_the_handler_on"),
    "reporting": ("TaskRun._report",),
    "keeping the lease": ("KeptLease", "Leases"),
    "Celery, of a failed task": ("TraceInfo.handle_error_state",),
    "Celery": ("Worker.workloop",),
}
STEPS: Mapping[str, Steps] = {"ingester": INGESTER, "worker main": MAIN, "worker children": CHILD}

#: Looks a second.
_RATE = 400


class Watching:
    """Looks at processes, one of each kind of `STEPS`, until they end. *directory* is for what py-spy writes."""

    def __init__(self, pids: Mapping[str, int], directory: Path) -> None:
        self._directory = directory
        self._looking = {kind: self._look(kind, pid) for kind, pid in pids.items()}

    def shares(self) -> dict[str, dict[str, float]]:
        """Wait for the processes to end, and return the share of each step in each, the largest first."""
        return {kind: self._shares(kind) for kind in self._looking}

    def _look(self, kind: str, pid: int) -> subprocess.Popen[bytes]:
        command = [
            str(Path(sys.executable).parent / "py-spy"), "record", "--gil", "--rate", str(_RATE), "--format", "raw",
            "--pid", str(pid), "--output", str(self._directory / kind),
        ]  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def _shares(self, kind: str) -> dict[str, float]:
        _, said = self._looking[kind].communicate()
        file = self._directory / kind
        if not file.exists():
            raise RunFailed(f"py-spy saw nothing of the {kind}; may it look at other processes?\n{said.decode()}")
        samples = by_step(file.read_text().splitlines(), STEPS[kind])
        return {step: count / samples.total() for step, count in samples.most_common()}


def by_step(lines: Iterable[str], steps: Steps) -> Counter[str]:
    """Count what py-spy saw, in its raw format: a stack's functions from the outermost on, and how often it was."""
    step_of = {function: step for step, functions in steps.items() for function in functions}
    counted: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        functions = [re.sub(r" \(.*", "", frame) for frame in reversed(stack.split(";"))]
        known = (step_of.get(one) or step_of.get(one.partition(".")[0]) for one in functions)
        step = next(filter(None, known), None)
        if step is not None:
            counted[step] += int(count)
    return counted
