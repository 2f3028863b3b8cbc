from __future__ import annotations

import pytest

from kaufmann_celery.outage import Outage


def said_at(outage: Outage, *, until: float, what: str = "Redis", start: float = 100.0) -> list[float]:
    """When an outage that is noticed twice a second from *start* on is logged, in seconds after it."""
    tries = [number / 2 for number in range(int(until * 2) + 1)]
    return [after for after in tries if outage.is_news(what, start + after)]


def test_an_outage_is_said_at_once_and_then_ever_more_rarely() -> None:
    assert said_at(Outage(), until=130) == [0, 1, 3, 7, 15, 31, 61, 91, 121]


def test_something_else_that_fails_meanwhile_is_said_at_once() -> None:
    outage = Outage()
    outage.is_news("Redis", 100)

    assert outage.is_news("Kafka", 100.5)
    assert not outage.is_news("Redis", 100.5)


def test_the_end_tells_how_long_it_was() -> None:
    outage = Outage()
    said_at(outage, until=12)

    assert outage.ended(112.5) == 12.5
    assert outage.ended(113) is None


def test_without_an_outage_nothing_ends() -> None:
    assert Outage().ended(100) is None


@pytest.mark.parametrize("ended", [True, False])
def test_a_later_outage_is_told_from_the_start_again(ended: bool) -> None:
    outage = Outage()
    said_at(outage, until=130)
    if ended:
        outage.ended(231)

    assert said_at(outage, until=7, start=1000) == [0, 1, 3, 7]


def test_an_outage_is_quiet_once_nothing_fails_any_more() -> None:
    outage = Outage()
    assert not outage.is_quiet_since(100)
    outage.is_news("Redis", 100)

    assert not outage.is_quiet_since(100)
    assert outage.is_quiet_since(100.1)
    outage.ended(101)
    assert not outage.is_quiet_since(101)


def test_ever_new_failures_do_not_fill_the_memory() -> None:
    outage = Outage()
    for number in range(10_000):
        assert outage.is_news(f"fault {number}", 100)

    assert len(outage._said) <= 100
