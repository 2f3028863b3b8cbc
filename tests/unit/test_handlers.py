from __future__ import annotations

import functools
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery import Kaufmann
from kaufmann_celery.errors import ConfigError
from kaufmann_celery.handlers import Handler, Handlers, Options, is_glob


def anything(event: object) -> None:
    """Handle it."""


def registered(*patterns: str) -> Handlers:
    handlers = Handlers()
    for pattern in patterns:
        handlers.add(Handler(pattern, anything))
    return handlers


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("order.placed", "order.placed"),
        ("order.paid", "order.*"),
        ("order.line.added", "order.line.*"),
        ("order.line.item.added", "order.line.*"),
        ("stock.moved", "*"),
        ("order", "*"),
        ("order.a1", "order.a[0-9]"),
        ("event.error.order.placed", "event.error.order.*"),
        ("event.error.stock.moved", "event.error.*"),
    ],
)
def test_exact_names_come_first_then_the_glob_with_the_longest_literal_part(name: str, pattern: str) -> None:
    handlers = registered(
        "*", "order.*", "order.line.*", "order.placed", "order.a[0-9]", "event.error.*", "event.error.order.*"
    )
    found = handlers.match(name)

    assert found is not None
    assert found.pattern == pattern


@pytest.mark.parametrize("pattern", ["*", "event.*", "event.error*", "?vent.error.a", "[e]vent.error.*"])
def test_a_glob_skips_error_events_unless_it_asks_for_them(pattern: str) -> None:
    assert registered(pattern).match("event.error.a") is None


def test_an_error_event_can_be_asked_for_by_its_name() -> None:
    assert registered("event.error.a").match("event.error.a") is not None


@pytest.mark.parametrize(
    ("pattern", "name"), [("order.*", "orders.a"), ("order.?", "order.ab"), ("Order.*", "order.a")]
)
def test_a_name_that_does_not_match_has_no_handler(pattern: str, name: str) -> None:
    assert registered(pattern).match(name) is None


def test_a_glob_reaches_over_line_ends() -> None:
    assert registered("a*").match("a\nb") is not None


def test_a_name_registered_twice_is_found_by_check() -> None:
    handlers = registered("a", "b.*", "a", "b.*")

    with pytest.raises(ConfigError, match=r"a is registered twice.*\n.*b\.\* is registered twice"):
        handlers.check()
    assert len(handlers) == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_retries", "3"), ("max_retries", -1), ("max_retries", 1.5), ("batch", 0), ("batch", "10"),
        ("retry_backoff", "1"), ("retry_backoff", -1), ("retry_backoff_max", "60"),
        ("soft_time_limit", "5"), ("time_limit", -1), ("rate_limit", "abc"), ("rate_limit", "10/x"), ("queue", 3),
        ("autoretry_for", "TimeoutError"), ("dont_autoretry_for", [TimeoutError, 3]),
    ],
)  # fmt: skip
def test_an_option_with_a_value_that_it_cannot_have_is_found_by_check(option: str, value: Any) -> None:
    kaufmann = Kaufmann("orders")
    kaufmann.on("order.placed", **{option: value})(anything)

    with pytest.raises(ConfigError, match=rf"^order\.placed: {option} must be .* \(at .*test_handlers\.py:\d+\)$"):
        kaufmann.handlers.check()


@pytest.mark.parametrize("takes", [lambda: None, lambda _a, _b: None, lambda *, _a: None])
def test_a_function_that_takes_no_event_is_found_by_check(takes: Callable[..., None]) -> None:
    with pytest.raises(ConfigError, match=r"^a: <lambda> cannot be called with an event alone: .* \(at .*"):
        _of(takes).check()


@pytest.mark.parametrize("takes", [lambda _a: None, lambda *_all: None, lambda _a, _b=1: None, print, dict])
def test_a_function_that_takes_an_event_is_no_fault(takes: Callable[..., None]) -> None:
    _of(takes).check()


def _of(function: Callable[..., None]) -> Handlers:
    handlers = Handlers()
    handlers.add(Handler("a", function))
    return handlers


def test_options_that_they_can_have_are_no_fault() -> None:
    kaufmann = Kaufmann("orders")
    kaufmann.on("a", max_retries=0, retry_backoff=0.5, retry_backoff_max=10, rate_limit="10/m", batch=1)(anything)
    kaufmann.on("b", retry_backoff=False, soft_time_limit=1.5, time_limit=2, rate_limit="0.5/s")(anything)

    kaufmann.handlers.check()


def test_a_name_registered_twice_is_named_with_both_places() -> None:
    handlers = registered("a")
    handlers.add(Handler("a", registered))

    first, second = (one.__code__.co_firstlineno for one in (anything, registered))
    with pytest.raises(ConfigError, match=rf"at {__file__}:{first} and at {__file__}:{second}$"):
        handlers.check()


def test_without_duplicates_check_says_nothing() -> None:
    registered("a", "b").check()


def test_a_handler_added_later_is_found_though_its_name_was_asked_for_before() -> None:
    handlers = registered("*")
    assert pattern_of(handlers.match("a")) == "*"
    handlers.add(Handler("a", anything))
    assert pattern_of(handlers.match("a")) == "a"


def test_what_is_remembered_is_bounded_for_names_come_off_the_wire() -> None:
    handlers = registered("*")
    for number in range(10_050):
        handlers.match(f"n{number}")

    assert len(handlers._remembered) <= 10_000


@given(
    st.lists(st.text("ab.*?", min_size=1, max_size=5), max_size=6, unique=True), st.text("ab.", min_size=1, max_size=6)
)
def test_the_match_is_the_best_of_all_that_match(patterns: list[str], name: str) -> None:
    found = pattern_of(registered(*patterns).match(name))
    globs = [one for one in patterns if is_glob(one) and fnmatchcase(name, one)]

    if name in patterns:
        assert found == name
    elif not globs:
        assert found is None
    else:
        assert found in globs
        assert literal(found) == max(map(literal, globs))


@pytest.mark.parametrize(
    ("options", "most"),
    [({}, None), ({"batch": 5}, 5), ({"batch": 5, "rate_limit": "1/s"}, 1), ({"time_limit": 1.0}, 1)],
)
def test_celerys_limits_apply_to_one_event(options: dict[str, Any], most: int | None) -> None:
    assert Options(**options).most_in_task == most


def test_a_handler_says_where_it_is_defined_also_behind_a_decorator() -> None:
    def decorated(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    assert Handler("a", decorated(anything)).source == Handler("a", anything).source
    assert f"{__file__}:" in Handler("a", anything).source
    assert Handler("a", len).source == repr(len)


def test_the_tasks_name_is_the_pattern() -> None:
    assert Handler("order.*", anything).task_name == "event:order.*"
    assert Handler("order.*", anything).is_glob
    assert not Handler("order.placed", anything).is_glob


def pattern_of(handler: Handler | None) -> str | None:
    return handler.pattern if handler else None


def literal(pattern: str) -> int:
    return len(pattern.replace("*", "").replace("?", ""))
