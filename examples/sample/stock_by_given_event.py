"""The same service in KaufmannEx's way: one function for all events, told apart by matching."""

from __future__ import annotations

from pathlib import Path

from stock import LEVELS, UnknownItem

from kaufmann_celery import ErrorEvent, Event, Kaufmann, Output

kaufmann = Kaufmann("stock", event_handler_mod=__name__, schema_path=Path(__file__).parent / "schemas")
celery = kaufmann.celery

#: The names that it wants, as KaufmannEx reads them off the clauses; without this it is given every event.
EVENTS = ("command.stock.reserve", "query.req.stock.level")


def given_event(event: Event | ErrorEvent):
    match event:
        case Event(name="command.stock.reserve", payload={"item": item}) if item not in LEVELS:
            raise UnknownItem(f"there has never been a {item}")
        case Event(name="command.stock.reserve", payload=order) if order["quantity"] > LEVELS[order["item"]]:
            missing = order["quantity"] - LEVELS[order["item"]]
            return ("event.stock.short", {"order_id": order["order_id"], "item": order["item"], "missing": missing})
        case Event(name="command.stock.reserve", payload=order):
            return ("event.stock.reserved", order)
        case Event(name="query.req.stock.level", payload={"item": item}):
            return Output("query.res.stock.level", {"item": item, "quantity": LEVELS[item]}, reply=True)
        case ErrorEvent(name=name, error=error):
            # Once more for each event that failed for good; its error event is published in any case.
            print(f"{name} failed: {error}")
    return None
