from __future__ import annotations

from decimal import Decimal


def test_an_order_is_confirmed_with_its_total(kaufmann_bus):
    kaufmann_bus.given_event("order.placed", {"order_id": "A-1", "item": "pear", "quantity": 3})

    kaufmann_bus.then_event("order.confirmed", {"order_id": "A-1", "total": Decimal("1.65")})
    kaufmann_bus.then_no_event()


def test_an_order_of_what_is_not_in_stock_is_an_error(kaufmann_bus):
    kaufmann_bus.given_event("order.placed", {"order_id": "A-1", "item": "kiwi", "quantity": 3})

    assert kaufmann_bus.then_event("event.error.order.placed").payload["error_type"] == "NotInStock"
    kaufmann_bus.then_no_event()


def test_what_was_paid_is_refunded(kaufmann_bus):
    kaufmann_bus.given_event("order.cancelled", {"order_id": "A-1", "paid": Decimal("1.65")})
    kaufmann_bus.given_event("order.cancelled", {"order_id": "A-2", "paid": Decimal(0)})

    kaufmann_bus.then_event("order.refunded", {"order_id": "A-1", "amount": Decimal("1.65")})
    kaufmann_bus.then_no_event()
