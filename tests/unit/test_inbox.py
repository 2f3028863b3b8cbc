from __future__ import annotations

import time

import pytest

from kaufmann_celery.inbox import Inbox
from kaufmann_celery.ledger.wake import Woken


def filled(*messages: object) -> Inbox:
    inbox = Inbox()
    for message in messages:
        inbox.put(message)
    return inbox


def test_what_comes_first_is_returned_alone_and_the_rest_when_asked() -> None:
    inbox = filled(1, 2, 3)

    assert inbox.wait(0.0, rest_until=0.0, enough=10) == [1]
    assert list(inbox.come()) == [2, 3]
    assert list(inbox.come()) == []


def test_nothing_comes() -> None:
    assert Inbox().wait(0.0, rest_until=time.monotonic() + 60.0, enough=1) == []


@pytest.mark.parametrize(("enough", "taken"), [(0, 1), (4, 1), (5, 3), (8, 3)])
def test_before_the_end_of_a_rest_it_waits_until_enough_is_reported(enough: int, taken: int) -> None:
    messages = [Woken("base", "order.placed", 4, 0.1), "other", Woken("base", "order.placed", 4, 0.1), "more"]

    assert filled(*messages).wait(0.0, rest_until=time.monotonic() + 60.0, enough=enough) == messages[:taken]


def test_a_rest_ends() -> None:
    assert filled("one").wait(0.0, rest_until=time.monotonic() + 0.01, enough=1) == ["one"]


@pytest.mark.parametrize(("enough", "taken"), [(4, 1), (5, 2), (100, 3)])
def test_before_the_end_of_a_rest_for_reports_it_waits_for_enough_of_them_or_for_anything_else(
    enough: int, taken: int
) -> None:
    report = Woken("base", "order.placed", 4, 0.1)
    messages = [report, report, Woken("base"), report]
    until = time.monotonic() + 60.0

    assert filled(*messages).wait(0.0, rest_until=0.0, reports_until=until, enough=enough) == messages[:taken]


def test_what_is_no_report_does_not_end_the_other_rest() -> None:
    messages = ["other", Woken("base", "order.placed", 4, 0.1), "more"]
    until = time.monotonic() + 60.0

    assert filled(*messages).wait(0.0, rest_until=until, reports_until=until, enough=4) == messages[:2]


def test_a_rest_for_reports_ends() -> None:
    report, until = Woken("base", "order.placed", 1, 0.1), time.monotonic() + 0.01

    assert filled(report).wait(0.0, rest_until=0.0, reports_until=until, enough=9) == [report]
