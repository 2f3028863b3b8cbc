from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from kaufmann_celery.stopping import ENDED, LEFT, SETTLED, Stop, run_until


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Set at the end, for the threads that were left behind."""
    event = threading.Event()
    yield event
    event.set()


def test_the_time_runs_from_the_first_request_on() -> None:
    stop = Stop(10.0)
    assert not stop.wait(0.0)
    stop.ask()
    first = stop.left_s(ENDED)
    stop.ask()
    assert stop.wait()
    assert stop.left_s(ENDED) <= first <= 10.0 * ENDED
    assert stop.left_s(SETTLED) < stop.left_s(LEFT) < stop.left_s(ENDED)
    assert stop.left_s(0.0) == 0.0


def test_a_loop_that_ends_when_it_is_asked_to_is_waited_for() -> None:
    stop, left = Stop(10.0), list[float]()
    threading.Timer(0.05, stop.ask).start()
    assert run_until(stop, lambda: assert_asked(stop), leave=left.append)
    assert left == []


def assert_asked(stop: Stop) -> None:
    assert stop.wait(10.0)


def test_a_loop_that_ends_by_itself_needs_no_request() -> None:
    stop = Stop(10.0)
    assert run_until(stop, lambda: None, leave=lambda _: None)
    assert stop.is_asked


def test_what_a_loop_raises_is_raised() -> None:
    def loop() -> None:
        raise LookupError("as it was")

    with pytest.raises(LookupError, match="as it was"):
        run_until(Stop(10.0), loop, leave=lambda _: None)


def test_a_loop_that_waits_is_left_behind_and_so_is_the_group_before(never: threading.Event) -> None:
    stop, left = Stop(0.4), list[float]()
    stop.ask()
    began = time.monotonic()
    assert not run_until(stop, lambda: assert_set(never), leave=left.append)
    assert 0.4 * ENDED <= time.monotonic() - began < 2.0
    (seconds,) = left
    assert 0.0 < seconds <= 0.4 * (LEFT - SETTLED)


def assert_set(event: threading.Event) -> None:
    assert event.wait(10.0)


def test_a_loop_is_asked_to_stop_where_who_waits_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop(10.0)
    waits = stop.wait

    def interrupted(timeout_s: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return waits(timeout_s)

    monkeypatch.setattr(stop, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_until(stop, lambda: assert_asked(stop), leave=lambda _: None)
    assert stop.is_asked
