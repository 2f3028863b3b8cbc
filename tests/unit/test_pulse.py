from __future__ import annotations

import faulthandler
import subprocess
import sys

import pytest

from kaufmann_celery.pulse import LIMIT_S, Pulse


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

    assert armed == [pytest.approx(LIMIT_S + longer_s, abs=1.0)]


#: The loop makes this many steps, and hangs; the consumer's thread goes on.
_HANGS = """
import sys, threading
from kaufmann_celery import pulse

pulse.LIMIT_S, pulse._BEAT_EVERY_S = 2.0, 0.3
kept, tick, steps = pulse.Pulse(), threading.Event(), int(sys.argv[1])
for turn in range(60):
    if turn < steps:
        kept.step()
    kept.beat()
    tick.wait(0.05)
kept.stop()
"""


@pytest.mark.parametrize(("steps", "ends"), [(1, True), (60, False)])
def test_a_process_whose_loop_hangs_ends_with_its_stacks(steps: int, *, ends: bool) -> None:
    hung = subprocess.run([sys.executable, "-c", _HANGS, str(steps)], capture_output=True, text=True, timeout=60)

    assert bool(hung.returncode) == ends
    assert ("Timeout" in hung.stderr) == ends
