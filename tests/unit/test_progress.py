from __future__ import annotations

import io

import pytest

from kaufmann_celery.cli.progress_bar import shown
from kaufmann_celery.operations.progress import Progress, SaidNowAndThen


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def progress(*seen: tuple[float, int], total: int = 1000) -> Progress:
    one = Progress(total)
    for moment, done in seen:
        one.at(moment, done)
    return one


def test_rate_and_remaining_time_are_those_of_late() -> None:
    one = progress((0, 0), (5, 10), (12, 500), (20, 900))

    assert one.rate == pytest.approx((900 - 10) / 15)
    assert str(one) == "90%, 900 of 1,000, 59/s, 2 s left"


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ([], "0%, 0 of 1,000, 0/s, an unknown time left"),
        ([(0, 0), (10, 0)], "0%, 0 of 1,000, 0/s, an unknown time left"),
        ([(0, 0), (10, 100)], "10%, 100 of 1,000, 10/s, 1 min 30 s left"),
        ([(0, 0), (100, 1)], "0%, 1 of 1,000, 0/s, 27 h 45 min left"),
        ([(0, 0), (1, 1000)], "100%, 1,000 of 1,000, 1,000/s"),
        ([(0, 0), (0, 5)], "0%, 5 of 1,000, 0/s, an unknown time left"),
    ],
)
def test_progress_is_said_in_a_line(seen: list[tuple[float, int]], said: str) -> None:
    assert str(progress(*seen)) == said


def test_it_is_said_now_and_then_and_at_the_end() -> None:
    clock, said = Clock(), list[str]()
    tell = SaidNowAndThen(10, lambda one: said.append(str(one)), every_s=5, clock=clock)
    for now, done in ((101, 1), (105, 4), (106, 9), (107, 10), (108, 10), (109, 10)):
        clock.now = now
        tell(done)

    assert said == ["40%, 4 of 10, 1/s, 8 s left", "100%, 10 of 10, 1/s"]


def test_nothing_to_do_needs_no_progress() -> None:
    said = list[Progress]()
    tell = SaidNowAndThen(0, said.append)
    tell(0)

    assert said == []


def test_a_terminal_shows_a_bar_that_ends_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    shown("reinit", 10)(10)

    assert terminal.getvalue().startswith("\r\x1b[K[##############################] 100%, 10 of 10")
    assert terminal.getvalue().endswith("\n")
