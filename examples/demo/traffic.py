"""What the demo publishes, and what must come of each: the plan that the summary is held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

GOOD, CANCELLED, FAILING, UNDECODABLE = 300, 60, 30, 12
ITEMS = ("apple", "pear", "plum")
#: Not Avro at all; a field that says it is longer than the record; nothing (a tombstone).
_NOISE = (b"{}", b"\x02\xfe\xff\xff\xff\x0f", None)


@dataclass(frozen=True)
class Planned:
    """One record to publish."""

    name: str
    #: What must come of it: the name of its one output, or the type of its one error event.
    outcome: str
    payload: dict[str, Any] | None = None
    #: Published as it is where there is no payload.
    raw: bytes | None = None


def plan() -> list[Planned]:
    """Return everything to publish, kinds well mixed and each time the same."""
    kinds = [list(_good()), list(_cancelled()), list(_failing()), list(_undecodable())]
    spread = [(index / len(kind), one) for kind in kinds for index, one in enumerate(kind)]
    return [one for _, one in sorted(spread, key=lambda pair: pair[0])]


def _good() -> Iterator[Planned]:
    for number in range(GOOD):
        yield Planned("order.placed", "order.confirmed", _order(number, ITEMS[number % 3]))


def _cancelled() -> Iterator[Planned]:
    for number in range(CANCELLED):
        payload = {"order_id": f"c-{number}", "paid": Decimal(number + 1)}
        yield Planned("order.cancelled", "order.refunded", payload)


def _failing() -> Iterator[Planned]:
    for number in range(FAILING):
        yield Planned("order.placed", "NotInStock", _order(GOOD + number, "durian"))


def _undecodable() -> Iterator[Planned]:
    for number in range(UNDECODABLE):
        yield Planned("order.placed", "DecodeError", raw=_NOISE[number % len(_NOISE)])


def _order(number: int, item: str) -> dict[str, Any]:
    return {"order_id": f"o-{number}", "item": item, "quantity": 1 + number % 5}
