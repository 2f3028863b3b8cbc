from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery.handlers import Handler, Options
from kaufmann_celery.tasks.grouping import Grouping


def handler(name: str = "a", **options: Any) -> Handler:
    return Handler(name, print, Options(**options))


def learn(grouping: Grouping, seconds_each: float, name: str = "a", *, runners: int = 4, now: float = 0.0) -> None:
    for number in 5 * [*range(runners)]:
        grouping.learn(name, 100, 100 * seconds_each, runner=f"runner-{number}", now=now)


def measured(seconds_each: float, name: str = "a", *, runners: int = 4) -> Grouping:
    grouping = Grouping()
    learn(grouping, seconds_each, name, runners=runners)
    return grouping


@pytest.mark.parametrize(
    ("seconds_each", "outstanding", "size"),
    [
        (0.001, 400, 20),
        (0.0001, 10_000, 300),
        (0.0, 10_000, 300),
        (1e-320, 10_000, 300),
        (0.0103, 60, 2),
        (0.02, 60, 1),
        (5.0, 10_000, 1),
        (0.001, 50, 6),
        (0.001, 8, 1),
        (0.001, 0, 1),
    ],
)
def test_a_task_holds_twenty_milliseconds_of_handling_and_leaves_two_tasks_for_each_of_four_runners(
    seconds_each: float, outstanding: int, size: int
) -> None:
    assert measured(seconds_each).size(handler(), outstanding, now=0.0) == size


@pytest.mark.parametrize(
    ("seconds_each", "outstanding", "size"),
    [(0.001, 10_000, 60), (0.001, 800, 25), (0.01, 10_000, 6), (0.01, 128, 4), (0.02, 10_000, 3), (0.07, 10_000, 1)],
)
def test_where_much_waits_a_task_holds_sixty_milliseconds_and_leaves_eight_tasks_for_each_runner(
    seconds_each: float, outstanding: int, size: int
) -> None:
    assert measured(seconds_each).size(handler(), outstanding, now=0.0) == size


@pytest.mark.parametrize(("seconds_each", "plenty"), [(0.001, 2000), (0.125, 16), (5.0, 1)])
def test_half_a_second_of_handling_for_each_of_four_runners_is_plenty(seconds_each: float, plenty: int) -> None:
    grouping = measured(seconds_each)

    assert [grouping.is_plenty(outstanding) for outstanding in (plenty - 1, plenty + 1)] == [False, True]


def test_what_is_plenty_is_told_by_the_quickest_handler() -> None:
    grouping = measured(0.125)
    learn(grouping, 0.0, "quick")

    assert not grouping.is_plenty(1_000_000)
    assert not Grouping().is_plenty(1_000_000)


@pytest.mark.parametrize(("runners", "size"), [(1, 25), (2, 12), (5, 5), (25, 1)])
def test_the_more_run_handlers_the_fewer_events_share_a_task(runners: int, size: int) -> None:
    assert measured(0.0008, runners=runners).size(handler(), 50, now=0.0) == size


def test_a_runner_that_reports_nothing_while_others_do_is_gone() -> None:
    grouping = measured(0.0008, runners=5)
    learn(grouping, 0.0008, runners=1, now=29.0)
    assert grouping.size(handler(), 50, now=29.0) == 5
    learn(grouping, 0.0008, runners=1, now=31.0)

    assert grouping.size(handler(), 50, now=31.0) == 25


@pytest.mark.parametrize(("seconds_each", "size"), [(0.00001, 16), (0.0001, 10), (0.0005, 2), (0.001, 1)])
def test_what_takes_no_longer_than_a_message_is_not_spread_but_three_tasks_are_on_their_way(
    seconds_each: float, size: int
) -> None:
    assert measured(seconds_each, runners=25).size(handler(), 50, now=0.0) == size


@pytest.mark.parametrize("option", [{"rate_limit": "10/s"}, {"time_limit": 5}, {"soft_time_limit": 5}, {"batch": 1}])
def test_events_with_celerys_limits_travel_alone(option: dict[str, Any]) -> None:
    assert measured(0.0).size(handler(**option), 10_000, now=0.0) == 1
    assert Grouping().size(handler(**option), 10_000, now=0.0) == 1


def test_batch_is_the_most_in_one_task() -> None:
    assert measured(0.0).size(handler(batch=7), 10_000, now=0.0) == 7


def test_an_unknown_handler_is_measured_by_eight_events_and_the_rest_wait_a_moment() -> None:
    grouping = Grouping()
    sizes = [grouping.size(handler(), 10_000, now=1.0) for _ in range(10)]

    assert sizes == [1] * 8 + [0, 0]
    assert grouping.size(handler(), 10_000, now=1.2) == 0


@pytest.mark.parametrize(("waited", "more"), [(0.25, 8), (0.5, 24), (1.0, 120)])
def test_a_handler_that_is_not_measured_gets_twice_the_tasks_of_one_event_each_quarter_of_a_second(
    waited: float, more: int
) -> None:
    grouping = Grouping()
    sizes = [grouping.size(handler(), 10_000, now=1.0) for _ in range(9)]
    sizes += [grouping.size(handler(), 10_000, now=1.0 + waited) for _ in range(1000)]

    assert sizes == [1] * 8 + [0] + [1] * more + [0] * (1000 - more)


def test_an_event_that_is_reported_makes_room_for_another() -> None:
    grouping = Grouping()
    for _ in range(9):
        grouping.size(handler(), 10_000, now=1.0)
    grouping.learn("a", 2, 5.0, runner="one", now=1.0)

    assert [grouping.size(handler(), 10_000, now=1.0) for _ in range(3)] == [1, 1, 0]


def test_after_one_event_long_ago_a_handler_is_measured_like_a_new_one() -> None:
    grouping = Grouping()
    grouping.size(handler(), 1, now=1.0)
    grouping.learn("a", 1, 0.5, runner="one", now=1.5)

    assert [grouping.size(handler(), 10_000, now=1000.0) for _ in range(10)] == [1] * 8 + [0, 0]


def test_four_measurements_end_the_wait() -> None:
    grouping = Grouping()
    for _ in range(9):
        grouping.size(handler(), 10_000, now=1.0)
    grouping.learn("a", 1, 0.5, runner="one", now=1.0)
    for _ in range(3):
        grouping.learn("a", 1, 0.001, runner="one", now=1.0)
    assert [grouping.size(handler(), 10_000, now=1.0) for _ in range(5)] == [1, 1, 1, 1, 0]
    grouping.learn("a", 1, 0.001, runner="one", now=1.0)

    assert grouping.size(handler(), 10_000, now=1.0) == 60


def test_one_event_that_took_long_makes_no_tasks_of_single_events() -> None:
    """Such as the first failure in a process."""
    grouping = Grouping()
    for seconds in (0.5, 0.059, 0.0008, 0.0013, 0.0008, 0.0001):
        grouping.learn("a", 1, seconds, runner="one", now=1.0)

    assert grouping.size(handler(), 10_000, now=1.0) >= 10


def test_what_a_process_runs_first_is_no_measure() -> None:
    grouping = measured(0.001)
    grouping.learn("a", 1, 5.0, runner="new", now=0.0)

    assert grouping.size(handler(), 10_000, now=0.0) == 60


def test_each_handler_is_measured_by_itself() -> None:
    grouping = measured(0.001, "a")
    learn(grouping, 5.0, "b")

    assert grouping.size(handler("a"), 10_000, now=0.0) == 60
    assert grouping.size(handler("b"), 10_000, now=0.0) == 1


def test_a_handler_that_grows_slow_is_noticed_within_a_few_tasks() -> None:
    grouping = measured(0.0001)
    for _ in range(5):
        grouping.learn("a", 1, 1.0, runner="runner-0", now=0.0)

    assert grouping.size(handler(), 10_000, now=0.0) == 1


@given(st.lists(st.tuples(st.integers(1, 200), st.floats(0, 1e6)), min_size=1), st.integers(0, 10**6))
def test_whatever_is_measured_a_task_holds_between_one_and_two_hundred(
    measurements: list[tuple[int, float]], outstanding: int
) -> None:
    grouping = measured(0.0)
    for events, seconds in measurements:
        grouping.learn("a", events, seconds, runner="one", now=0.0)

    assert 1 <= grouping.size(handler(), outstanding, now=0.0) <= 300
