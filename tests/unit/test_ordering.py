from __future__ import annotations

from typing import Any

import pytest

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import ConfigError, DecodeError
from kaufmann_celery.event import Event, Position
from kaufmann_celery.ordering import Ordering
from kaufmann_celery.tasks.envelope import event_of
from tests.unit.ledger_in_memory import handler


def an_event() -> Event:
    return event_of(
        "order.placed",
        Position("orders", 0, 7),
        key="k1",
        timestamp_ms=0,
        headers=(("tenant", b"acme"),),
        meta={"callback_id": "c1"},
        payload={"order": {"id": 12}, "none": None},
    )


def ordering(mode: str = "key", key: Any = "key", *handlers: Any) -> Ordering:
    return Ordering(
        load_config("orders", keywords={"ordering": mode, "ordering_key": key}, conf={}, environ={}), handlers
    )


def lane(by: Ordering, of: Any = None) -> str | None:
    return by.lane(of or handler(), "k1", an_event)


def last_letter(event: Event) -> str | None:
    return event.key and event.key[-1]


def test_without_order_an_event_has_no_lane() -> None:
    assert lane(ordering("unordered")) is None


def test_a_partition_is_one_lane_for_all_that_is_in_it() -> None:
    by = ordering("partition")

    assert by.lane(None, None, None) == by.lane(handler(), "k1", an_event) is not None


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("key", "k1"),
        ("payload.order.id", "12"),
        ("payload.none", None),
        ("payload.absent.id", None),
        ("meta.callback_id", "c1"),
        ("headers.tenant", "acme"),
        ("headers.absent", None),
        (last_letter, "1"),
        (f"{__name__}.last_letter", "1"),
    ],
)
def test_the_key_is_what_ordering_key_says(key: Any, expected: str | None) -> None:
    assert lane(ordering("key", key)) == expected


def test_a_handlers_own_ordering_key_comes_first() -> None:
    own = handler("order.paid", ordering_key="payload.order.id")

    assert lane(ordering("key", "key", own), own) == "12"
    assert lane(ordering("key", "key", own)) == "k1"


def test_an_event_without_a_key_is_unordered() -> None:
    assert ordering().lane(handler(), None, an_event) is None


def test_a_record_that_could_not_be_decoded_has_the_lane_of_its_key_only() -> None:
    assert ordering().lane(handler(), "k1", None) == "k1"
    assert ordering("key", "payload.order.id").lane(handler(), "k1", None) is None


def test_a_function_that_raises_fails_its_event() -> None:
    def broken(_: Event) -> str:
        raise KeyError("nope")

    with pytest.raises(DecodeError, match="ordering_key raised KeyError"):
        lane(ordering("key", broken))


@pytest.mark.parametrize(
    ("key", "why"), [("no.such.module", "no.such.module"), (f"{__name__}.absent", "absent"), ("what", "must be key")]
)
def test_a_handlers_ordering_key_that_is_none_is_said_at_start(key: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"ordering_key of order.paid: .*{why}"):
        ordering("key", "key", handler("order.paid", ordering_key=key))
