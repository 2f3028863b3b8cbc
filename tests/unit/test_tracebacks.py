from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from kaufmann_celery.errors import message_of
from kaufmann_celery.worker import tracebacks
from kaufmann_celery.worker.tracebacks import log_failure

log = logging.getLogger("a-service")


def fails(what: str) -> None:
    raise ValueError(what)


def fails_because_of_another() -> None:
    try:
        fails("inner")
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


@pytest.fixture(autouse=True)
def none_known() -> Iterator[None]:
    tracebacks._stacks.clear()
    yield
    tracebacks._stacks.clear()


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


def log_of(error: BaseException, message: str = "failed", *args: object) -> None:
    log_failure(log, message, *args, error=error, said=message_of(error), extra={"action": "failed"})


@pytest.mark.parametrize(
    "call",
    [
        lambda: fails("no stock"),
        lambda: fails("two\nlines"),
        lambda: fails(""),
        fails_because_of_another,
        fails_while_another_is_handled,
        fails_with_a_note,
        fails_in_a_group,
        fails_deep,
        fails_with_a_suggestion,
        fails_oddly,
        lambda: compile("1 +", "service.py", "exec"),
    ],
)
def test_it_is_printed_as_python_prints_it_each_time(
    caplog: pytest.LogCaptureFixture, call: Callable[[], None]
) -> None:
    for _ in range(2):
        error = raised_by(call)
        log_of(error, "%s failed", "order.placed")
        record = caplog.records[-1]
        printed = "".join(traceback.format_exception(error)).rstrip("\n")

        assert logging.Formatter().format(record) == f"order.placed failed\n{printed}"
        assert record.exc_info == (type(error), error, error.__traceback__)
        assert vars(record)["action"] == "failed"


def test_two_failures_of_one_place_say_each_what_was_raised(caplog: pytest.LogCaptureFixture) -> None:
    for what in ("first", "second"):
        log_of(raised_by(partial(fails, what)))

    assert [str(record.exc_text).splitlines()[-1] for record in caplog.records] == [
        "ValueError: first", "ValueError: second",
    ]  # fmt: skip
    assert len(tracebacks._stacks) == 1


def test_no_more_stacks_are_kept_than_there_is_room_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracebacks, "_MOST", 2)
    for depth in range(5):
        log_of(raised_by(partial(fails_deep, depth)))

    assert len(caplog.records) == 5
    assert len(tracebacks._stacks) <= 2


def test_nothing_is_said_where_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL, "a-service"):
        log_of(raised_by(lambda: fails("x")))

    assert caplog.records == []
