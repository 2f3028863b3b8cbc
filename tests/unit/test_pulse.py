from __future__ import annotations

import faulthandler
import subprocess
import sys

import pytest

from kaufmann_celery.pulse import _LATE_S, LIMIT_S, Pulse


@pytest.mark.parametrize("longer_s", [0.0, 270.0])
def test_a_process_may_stand_still_for_longer_where_settings_make_it_wait(
    monkeypatch: pytest.MonkeyPatch, longer_s: float
) -> None:
    """A request_timeout_ms above two minutes would else end an ingester whose Kafka is away."""
    armed: list[float] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda left_s, **_: armed.append(left_s))
    pulse = Pulse(longer_s)
    pulse.step()
    pulse.beat()
    pulse.stop()

    assert armed == [pytest.approx(LIMIT_S + longer_s + _LATE_S, abs=1.0)]


#: Of the two threads, those that go on, and whether another keeps the GIL from them.
_HANGS = """
import ctypes, sys, threading
from kaufmann_celery import pulse

pulse.LIMIT_S, pulse._LOOK_EVERY_S, pulse._LATE_S = 2.0, 0.3, 1.0
kept, tick, goes_on = pulse.Pulse(), threading.Event(), sys.argv[1:]
for turn in range(80):
    if turn == 0 or "loop" in goes_on:
        kept.step()
    if turn == 0 or "consumer" in goes_on:
        kept.beat()
    if turn == 20 and "gil" in goes_on:
        ctypes.PyDLL(None).sleep(60)
    tick.wait(0.05)
kept.stop()
"""


@pytest.mark.parametrize(
    ("goes_on", "says"),
    [
        (["loop", "consumer"], ""),
        (["loop"], "stood still for 2 s"),
        (["consumer"], "stood still for 2 s"),
        (["loop", "consumer", "gil"], "Timeout (0:00:0"),
    ],
)
def test_a_process_of_which_a_thread_hangs_ends_with_its_stacks(goes_on: list[str], says: str) -> None:
    hung = subprocess.run([sys.executable, "-c", _HANGS, *goes_on], capture_output=True, text=True, timeout=60)

    assert hung.returncode == bool(says)
    assert says in hung.stderr
    assert ("most recent call first" in hung.stderr) == bool(says)
