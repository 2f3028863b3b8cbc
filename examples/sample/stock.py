"""Stock: sets aside what orders ask for, and answers how much is left."""

from __future__ import annotations

from pathlib import Path

from kaufmann_celery import Event, Kaufmann, Output

kaufmann = Kaufmann("stock", schema_path=Path(__file__).parent / "schemas")
celery = kaufmann.celery

#: What a database would know.
LEVELS = {"apple": 7, "pear": 2}


class UnknownItem(Exception):
    """Nobody has ever had such an item."""


# A command in, an event out.
@kaufmann.on("command.stock.reserve")
def reserve(event: Event):
    order = event.payload
    if order["item"] not in LEVELS:
        # What a handler raises becomes an error event, here event.error.command.stock.reserve.
        raise UnknownItem(f"there has never been a {order['item']}")
    missing = order["quantity"] - LEVELS[order["item"]]
    if missing > 0:
        return ("event.stock.short", {"order_id": order["order_id"], "item": order["item"], "missing": missing})
    return ("event.stock.reserved", order)


# A query in, its answer to whoever asked: their topic and partition, with their callback_id.
@kaufmann.on("query.req.stock.level")
def level(event: Event):
    item = event.payload["item"]
    return Output("query.res.stock.level", {"item": item, "quantity": LEVELS[item]}, reply=True)
