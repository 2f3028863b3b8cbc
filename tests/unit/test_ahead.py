"""What is decoded before there is a slot for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.partitions.ahead import DecodesAhead
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.tasks.envelope import Decoded
from tests.unit.ledger_in_memory import InMemory, adopting, event, owned_by, record


class Decodes:
    """Notes the offsets that it decodes; offset 4 is nobody's event."""

    def __init__(self) -> None:
        self.decoded: list[int] = []
        self.away = False
        #: How often it had to wait for the registry.
        self.waits = 0

    def decode(self, one: Any) -> Decoded | None:
        if self.away:
            self.waits += 1
            raise UnavailableError
        self.decoded.append(one.offset)
        return None if one.offset == 4 else replace(event(one.offset).decoded, meta={"message_id": f"id{one.offset}"})


@pytest.fixture
def decodes() -> Decodes:
    return Decodes()


def with_records(owned: OwnedPartition, *offsets: int) -> OwnedPartition:
    owned.read([record(offset) for offset in offsets], offsets[-1] + 1)
    return owned


def test_a_record_is_decoded_once_ahead_or_not(decodes: Decodes) -> None:
    owned, ahead = with_records(owned_by(InMemory()), 0, 1, 4, 5), DecodesAhead(decodes, 3)
    ahead.go_on([owned])
    assert decodes.decoded == [0, 1, 4]
    ahead.go_on([owned])
    found = [ahead.decode(owned, record(offset)) for offset in (0, 1, 4, 5)]

    assert decodes.decoded == [0, 1, 4, 5]
    assert [one and one.meta["message_id"] for one in found] == ["id0", "id1", None, "id5"]


def test_no_more_is_kept_than_it_may_over_all_partitions(decodes: Decodes) -> None:
    first, second = (with_records(owned_by(InMemory()), *range(5)) for _ in range(2))
    ahead = DecodesAhead(decodes, 7)
    for _ in range(3):
        ahead.go_on([first, second])
    assert decodes.decoded == [0, 1, 2, 3, 4, 0, 1]


def test_what_was_passed_over_is_dropped(decodes: Decodes) -> None:
    """Such as those that a mark turned out to have finished."""
    owned, ahead = with_records(owned_by(InMemory()), *range(4)), DecodesAhead(decodes, 4)
    ahead.go_on([owned])
    for _ in range(3):
        owned.fetched.popleft()
    ahead.go_on([owned])

    assert ahead.decode(owned, record(3)) is not None
    assert decodes.decoded == [0, 1, 2, 3]


def test_while_a_predecessors_claims_are_looked_for_nothing_is_decoded_ahead(decodes: Decodes) -> None:
    DecodesAhead(decodes, 4).go_on([with_records(adopting(InMemory(), 3), *range(4))])
    assert decodes.decoded == []


def test_a_registry_that_is_away_is_left_to_whoever_needs_the_record(decodes: Decodes) -> None:
    owned, ahead = with_records(owned_by(InMemory()), *range(4)), DecodesAhead(decodes, 4)
    decodes.away = True
    ahead.go_on([owned])
    for waits in (1, 2):
        with pytest.raises(UnavailableError):
            ahead.decode(owned, record(0))
        assert decodes.waits == waits
    decodes.away = False
    ahead.go_on([owned])
    assert decodes.decoded == []
    ahead.decode(owned, record(0))
    owned.fetched.popleft()
    ahead.go_on([owned])

    assert decodes.decoded == [0, 1, 2, 3]
