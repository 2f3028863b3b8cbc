from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import pytest

from kaufmann_celery.errors import message_of
from kaufmann_celery.event import Event
from kaufmann_celery.worker.failure_log import FailureLog


def fails(what: str) -> None:
    raise ValueError(what)


def because_of(call: Callable[[], None]) -> None:
    try:
        call()
    except ValueError as error:
        raise LookupError("outer") from error


def fails_while_another_is_handled() -> None:
    try:
        fails("inner")
    except ValueError:
        fails("outer")


def fails_with_a_note() -> None:
    error = ValueError("noted")
    error.add_note("and this")
    raise error


def fails_in_a_group() -> None:
    raise ExceptionGroup("several", [ValueError("one"), LookupError("two")])


def fails_deep(depth: int = 40) -> None:
    fails("deep") if depth == 0 else fails_deep(depth - 1)


def raised_by(call: Callable[[], None]) -> BaseException:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - whatever it raises
        return error
    raise AssertionError("it does not fail")


def fails_with_a_suggestion() -> None:
    "text".uper()  # type: ignore[attr-defined] # that is the failure


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def fails_oddly() -> None:
    raise OddError


def event_at(offset: int, name: str = "order.placed") -> Event:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    return Event(
        name=name, payload=None, id=f"id-{offset}", topic="orders", partition=3, offset=offset, timestamp=moment
    )


def logged(caplog: pytest.LogCaptureFixture, *errors: BaseException, first: bool = False) -> list[str]:
    """Return what the failures of one task say in the log, as Python formats it. Not *first*: another came before."""
    failures = FailureLog()
    if not first:
        failures.add(event_at(0), KeyError("before"), "'before'")
        failures.write()
    caplog.clear()
    for offset, error in enumerate(errors, 1):
        failures.add(event_at(offset), error, message_of(error))
    failures.write()
    return [logging.Formatter().format(record) for record in caplog.records]


def printed(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip("\n")


@pytest.mark.parametrize(
    "call",
    [
        lambda: fails("no stock"),
        lambda: fails("two\nlines"),
        lambda: fails(""),
        lambda: because_of(partial(fails, "inner")),
        fails_while_another_is_handled,
        fails_with_a_note,
        fails_in_a_group,
        fails_deep,
        fails_with_a_suggestion,
        fails_oddly,
        lambda: compile("1 +", "service.py", "exec"),
    ],
)
def test_the_failure_of_one_event_is_printed_as_python_prints_it(
    caplog: pytest.LogCaptureFixture, call: Callable[[], None]
) -> None:
    error = raised_by(call)

    head = f"order.placed id-1 at orders:3:1 failed: {type(error).__name__}"
    assert logged(caplog, error) == [f"{head}\n{printed(error)}"]


def test_those_of_one_place_have_a_line_each_and_one_traceback(caplog: pytest.LogCaptureFixture) -> None:
    errors = [raised_by(partial(fails, what)) for what in ("first", "second", "")]

    assert logged(caplog, *errors) == [
        "order.placed id-1 at orders:3:1 failed: ValueError\n"
        "order.placed id-2 at orders:3:2 failed: ValueError: second\n"
        "order.placed id-3 at orders:3:3 failed: ValueError\n" + printed(errors[0])
    ]
    (record,) = caplog.records
    said = vars(record)
    assert said["positions"] == ["orders:3:1", "orders:3:2", "orders:3:3"]
    assert (said["action"], said["event"], said["error_type"]) == ("failed", "order.placed", "ValueError")
    assert (said["topic"], said["partition"], said["offset"]) == ("orders", 3, 1)


def because_of_none() -> None:
    try:
        fails("inner")
    except ValueError:
        raise LookupError("outer") from None


def test_what_led_to_them_has_to_be_alike_too(caplog: pytest.LogCaptureFixture) -> None:
    alike = [raised_by(partial(because_of, partial(fails, what))) for what in ("one", "two")]
    assert len(logged(caplog, *alike)) == 1
    assert len(logged(caplog, alike[0], raised_by(partial(because_of, fails_deep)))) == 2
    assert len(logged(caplog, *[raised_by(because_of_none) for _ in range(2)])) == 1


@pytest.mark.parametrize("call", [fails_with_a_note, fails_in_a_group])
def test_what_says_more_than_a_line_is_printed_each_time(
    caplog: pytest.LogCaptureFixture, call: Callable[[], None]
) -> None:
    errors = [raised_by(call) for _ in range(2)]

    assert [one.partition("\n")[2] for one in logged(caplog, *errors)] == [printed(error) for error in errors]


def test_a_chain_that_never_ends_is_alike_to_none(caplog: pytest.LogCaptureFixture) -> None:
    one, other = raised_by(partial(fails, "one")), raised_by(partial(fails, "other"))
    one.__cause__, other.__cause__ = other, one

    assert len(logged(caplog, one, other)) == 2


def test_the_traceback_of_a_tasks_first_failure_is_left_to_celery(caplog: pytest.LogCaptureFixture) -> None:
    errors = [raised_by(partial(fails, what)) for what in ("first", "second")]
    other = raised_by(fails_with_a_suggestion)

    assert logged(caplog, *errors, other, first=True) == [
        "order.placed id-1 at orders:3:1 failed: ValueError\n"
        "order.placed id-2 at orders:3:2 failed: ValueError: second",
        f"order.placed id-3 at orders:3:3 failed: AttributeError\n{printed(other)}",
    ]


def test_events_of_different_names_stand_apart(caplog: pytest.LogCaptureFixture) -> None:
    failures, error = FailureLog(), raised_by(partial(fails, "x"))
    for offset, name in enumerate(("order.placed", "order.paid", "order.placed")):
        failures.add(event_at(offset, name), error, "x")
    failures.write()
    failures.write()

    assert [vars(record)["event"] for record in caplog.records] == ["order.placed", "order.paid"]
