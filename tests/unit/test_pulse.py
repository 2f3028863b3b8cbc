from __future__ import annotations

import faulthandler

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
