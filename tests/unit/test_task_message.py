from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu import serialization

from kaufmann_celery.handlers import Handler, Options
from kaufmann_celery.tasks.celery_out import SHOWN, TaskMessage
from kaufmann_celery.tasks.given import Given, read, rows
from kaufmann_celery.transcoders.payload_codec import dumps

EVENTS = [Given(7, 1), Given(8, 1)]
HANDLER = Handler("order.placed", print, Options())
MESSAGE = TaskMessage(HANDLER, "base", "history", "tag", "orders", 2, EVENTS[:1], ["text"])


def test_a_task_that_is_sent_again_has_its_id() -> None:
    assert MESSAGE.task_id("orders") == replace(MESSAGE).task_id("orders") == "order.placed@orders:2:7.1"


@pytest.mark.parametrize(
    "other",
    [
        lambda: replace(MESSAGE, events=[EVENTS[0]._replace(d=2)]).task_id("orders"),
        lambda: replace(MESSAGE, events=EVENTS).task_id("orders"),
        lambda: replace(MESSAGE, events=EVENTS[1:]).task_id("orders"),
        lambda: replace(MESSAGE, partition=1).task_id("orders"),
        lambda: MESSAGE.task_id("another group"),
    ],
    ids=["next dispatch", "in company", "offset", "partition", "group"],
)
def test_another_dispatch_has_another_id(other: Callable[[], str]) -> None:
    """Celery never forgets a revoked one: under its id the event would never run again."""
    assert other() != MESSAGE.task_id("orders")


def test_who_may_begin_its_claims_travels_with_it() -> None:
    assert MESSAGE.args() == ["base", "history", "tag", "orders", 2, [[7, 7, 1, 1, 0, None]], ["text"]]


def test_events_that_are_alike_and_follow_one_another_travel_as_one_row() -> None:
    events = [Given(5, 1), Given(6, 1), Given(7, 2, 2, 1), Given(8, 2, 2, 1), Given(10, 2, 2, 1), Given(11, 1, lane=1)]

    assert rows(events) == [[5, 6, 1, 1, 0, None], [7, 8, 2, 2, 1, None], [10, 10, 2, 2, 1, None], [11, 11, 1, 1, 0, 1]]


@given(st.lists(st.builds(Given, offset=st.integers(0, 20), d=st.integers(1, 2), lane=st.none() | st.just(1))))
def test_whatever_travels_arrives_in_its_order(events: list[Given]) -> None:
    assert read(json.loads(json.dumps(rows(events)))) == events


def test_people_are_shown_the_first_events_and_how_many_more() -> None:
    many = replace(
        MESSAGE, events=[Given(at, 1) for at in range(SHOWN + 2)], shown=[f"order.placed e{at}" for at in range(SHOWN)]
    )

    assert replace(MESSAGE, shown=["order.placed e7"]).argsrepr() == "(order.placed e7 at orders:2:7)"
    assert many.argsrepr().startswith("(order.placed e0 at orders:2:0, order.placed e1 at orders:2:1, ")
    assert many.argsrepr().endswith("order.placed e9 at orders:2:9, and 2 more)")


@given(
    st.lists(st.binary(max_size=9) | st.text(max_size=9) | st.integers(2**63, 2**65), min_size=1),
    st.text() | st.none(),
)
def test_a_tasks_body_is_the_json_that_celery_would_write(payloads: list[object], fact: str | None) -> None:
    body: tuple[list[object], object, object] = (
        ["base", fact, 2, [[7, 7, None]], [dumps([one]) for one in payloads]],
        {},
        {"chain": None},
    )

    content_type, encoding, written = serialization.dumps(body, "kaufmann-task")

    assert (content_type, encoding) == serialization.dumps(body, "json")[:2]
    assert serialization.loads(written, content_type, encoding) == json.loads(json.dumps(body))


def test_json_of_anything_is_still_written_by_kombus_own() -> None:
    assert serialization.registry.type_to_name["application/json"] == "json"
