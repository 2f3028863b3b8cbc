"""Whom a worker's main process vouches for: runs that go on, in children that live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

from kaufmann_celery.ledger import RunLedger
from kaufmann_celery.worker.vouching import ChildsRun, Vouching, is_running
from tests.integration.service_process import eventually

LEASE_S = 0.3


class Ledger:
    """Counts how often its run was vouched for."""

    def __init__(self) -> None:
        self.vouched = 0

    def vouch(self) -> bool:
        self.vouched += 1
        return True


@pytest.fixture
def child() -> Iterator[int]:
    """Return the process id of a child that waits."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def run_of(ledger: Ledger, pid: int, *, current: bool = True) -> ChildsRun:
    return ChildsRun(lambda: cast(RunLedger, ledger), pid, lambda: current)


def vouched_for(*runs: ChildsRun) -> None:
    """Vouch once, long before it is time to."""
    vouching = Vouching(600.0)
    for run in runs:
        vouching.add(run)
    vouching._vouch()


def test_a_child_that_lives_runs_and_one_that_was_stopped_or_died_does_not(child: int) -> None:
    assert is_running(child)
    os.kill(child, signal.SIGSTOP)
    eventually(lambda: not is_running(child), "it stands still")
    os.kill(child, signal.SIGCONT)
    eventually(lambda: is_running(child), "it goes on")
    os.kill(child, signal.SIGKILL)
    eventually(lambda: not is_running(child), "it died")


def test_a_stranger_is_not_vouched_for() -> None:
    assert not is_running(os.getppid())


def test_only_the_latest_run_of_a_child_is_vouched_for(child: int) -> None:
    before, latest = Ledger(), Ledger()
    vouched_for(run_of(before, child), run_of(latest, child))

    assert (before.vouched, latest.vouched) == (0, 1)


def test_a_run_of_which_the_main_process_heard_the_end_is_not_vouched_for(child: int) -> None:
    ended = Ledger()
    vouched_for(run_of(ended, child, current=False))

    assert ended.vouched == 0


def test_who_stood_still_for_longer_than_a_lease_vouches_for_nobody(
    child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile its child's events were given away, and nobody told it."""
    ledger, jumps, looks = Ledger(), 10 * LEASE_S, list[float]()

    def monotonic() -> float:
        looks.append(len(looks) * jumps)
        return looks[-1]

    monkeypatch.setattr("kaufmann_celery.worker.vouching.time", SimpleNamespace(monotonic=monotonic))
    Vouching(LEASE_S).add(run_of(ledger, child))
    eventually(lambda: len(looks) > 9, "it looked some times")
    assert ledger.vouched == 0
    jumps = 0.0
    eventually(lambda: ledger.vouched > 0, "it goes on")
