"""What the embedding process publishes, and what its service makes of it; no ingester runs here."""

from __future__ import annotations

import embedded
import pytest
import stock


@pytest.fixture
def kaufmann_app():
    return stock.kaufmann


def test_an_order_that_is_placed_is_reserved(kaufmann_bus):
    embedded.place_order("A-1", "pear", 1)
    kaufmann_bus.then_event("command.stock.reserve", {"order_id": "A-1", "item": "pear", "quantity": 1})
    kaufmann_bus.feed_back()

    kaufmann_bus.then_event("event.stock.reserved", {"order_id": "A-1", "item": "pear", "quantity": 1})
