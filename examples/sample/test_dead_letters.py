"""A dead-letter service is tested like any other, and beside the service whose errors it handles."""

from __future__ import annotations

import dead_letters
import pytest
import stock

from kaufmann_celery.testing import MockBus


@pytest.fixture
def kaufmann_app():
    return dead_letters.kaufmann


def test_a_services_error_event_raises_an_alert(kaufmann_bus):
    with MockBus(stock.kaufmann) as stock_bus:
        stock_bus.given_event("command.stock.reserve", {"order_id": "A-1", "item": "kiwi", "quantity": 1})
        error = stock_bus.then_event("event.error.command.stock.reserve")

    kaufmann_bus.given_event(error.name, error.payload, headers=dict(error.headers))

    kaufmann_bus.then_event(
        "event.alert.raised",
        {
            "failed": "command.stock.reserve",
            "why": "UnknownItem: there has never been a kiwi",
            "position": "stock:0:0",
        },
    )
    kaufmann_bus.then_no_event()


def test_an_event_that_is_no_error_is_none_of_its_business(kaufmann_bus):
    kaufmann_bus.given_event("event.stock.short", {"order_id": "A-1", "item": "pear", "missing": 1})

    kaufmann_bus.then_no_event()
