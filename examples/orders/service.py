"""Orders: confirms each one that can be delivered, refunds those that are cancelled."""

from __future__ import annotations

from decimal import Decimal

from kaufmann_celery import Event, Kaufmann

kaufmann = Kaufmann("orders")
celery = kaufmann.celery

PRICES = {"apple": Decimal("0.40"), "pear": Decimal("0.55"), "plum": Decimal("0.15")}


class NotInStock(Exception):
    """There is no such item."""


@kaufmann.on("order.placed")
def confirm(event: Event):
    order = event.payload
    if order["item"] not in PRICES:
        raise NotInStock(f"there is no {order['item']}")
    total = PRICES[order["item"]] * order["quantity"]
    return ("order.confirmed", {"order_id": order["order_id"], "total": total})


@kaufmann.on("order.cancelled")
def refund(event: Event):
    order = event.payload
    if order["paid"]:
        return ("order.refunded", {"order_id": order["order_id"], "amount": order["paid"]})
    return None
