from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

#: An ingester that takes its time to stop.
_PROGRAM = """
import threading
from kaufmann_celery.cli.ingest import StopSignals

class Slow:
    def stop(self):
        print("stopping", flush=True)

signals = StopSignals()
print("ready", flush=True)
if input() == "run":
    signals.stop_by(Slow())
while True:
    # As a command that runs: a signal that comes just before this thread rests does not wake it.
    threading.Event().wait(0.05)
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """The program, ready for signals."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def run(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("run\n")


def test_each_sigterm_asks_for_a_stop_and_none_ends_the_process(process: subprocess.Popen[str]) -> None:
    run(process)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        assert said(process) == "stopping\n"

    assert process.poll() is None


def test_a_second_sigint_ends_the_process_at_once_with_1(process: subprocess.Popen[str]) -> None:
    run(process)
    process.send_signal(signal.SIGINT)
    assert said(process) == "stopping\n"

    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 1


def test_a_sigint_after_a_sigterm_is_the_first(process: subprocess.Popen[str]) -> None:
    run(process)
    for number in (signal.SIGTERM, signal.SIGINT):
        process.send_signal(number)
        assert said(process) == "stopping\n"

    assert process.poll() is None


def test_a_signal_that_comes_before_the_ingester_is_made_stops_it_then(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)

    run(process)

    assert said(process) == "stopping\n"
