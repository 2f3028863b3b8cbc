"""The sample service's tests: events given, events expected. `kaufmann_bus` comes with kaufmann-celery."""

from __future__ import annotations

import pytest


def test_what_is_there_is_reserved(kaufmann_bus):
    kaufmann_bus.given_event("command.stock.reserve", {"order_id": "A-1", "item": "apple", "quantity": 3})

    kaufmann_bus.then_event("event.stock.reserved", {"order_id": "A-1", "item": "apple", "quantity": 3})
    kaufmann_bus.then_no_event()


def test_what_is_not_there_is_short(kaufmann_bus):
    kaufmann_bus.given_event("command.stock.reserve", {"order_id": "A-1", "item": "pear", "quantity": 3})

    kaufmann_bus.then_event("event.stock.short", {"order_id": "A-1", "item": "pear", "missing": 1})
    kaufmann_bus.then_no_event("event.stock.reserved")


def test_what_never_was_is_an_error(kaufmann_bus):
    kaufmann_bus.given_event("command.stock.reserve", {"order_id": "A-1", "item": "kiwi", "quantity": 1})

    error = kaufmann_bus.then_event("event.error.command.stock.reserve")
    assert error.payload["error"] == "there has never been a kiwi"
    assert error.payload["error_type"] == "UnknownItem"
    kaufmann_bus.then_no_event()


def test_an_answer_goes_to_whoever_asked(kaufmann_bus):
    asker = {"callback_topic": {"topic": "shop", "partition": 2}}
    kaufmann_bus.given_event("query.req.stock.level", {"item": "pear"}, callback_id="q-1", meta=asker)

    answer = kaufmann_bus.then_event("query.res.stock.level", {"item": "pear", "quantity": 2}, topic="shop")
    assert answer.partition == 2
    assert answer.meta["callback_id"] == "q-1"
    # It is on the service's own topic as well, for whoever else wants to know.
    kaufmann_bus.then_event("query.res.stock.level", topic="stock")


def test_a_failed_query_is_told_to_whoever_asked(kaufmann_bus):
    asker = {"callback_topic": {"topic": "shop", "partition": 2}}
    kaufmann_bus.given_event("query.req.stock.level", {"item": "kiwi"}, meta=asker)

    error = kaufmann_bus.then_event("event.error.query.req.stock.level", topic="shop")
    assert error.payload["error_type"] == "KeyError"


def test_a_command_that_fits_no_schema_never_leaves_the_test(kaufmann_bus):
    with pytest.raises(AssertionError, match=r"payload\.quantity: expected int, got str"):
        kaufmann_bus.given_event("command.stock.reserve", {"order_id": "A-1", "item": "apple", "quantity": "3"})


def test_bytes_that_are_no_event_stop_nothing(kaufmann_bus):
    kaufmann_bus.given_raw("command.stock.reserve", b"not Avro")

    error = kaufmann_bus.then_event("event.error.command.stock.reserve")
    assert error.payload["error_type"] == "DecodeError"
