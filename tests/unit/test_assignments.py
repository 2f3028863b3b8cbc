from __future__ import annotations

from kafka import TopicPartition

from kaufmann_celery.partitions.assignments import Assignments

ORDERS = TopicPartition("orders", 0)
OTHERS = TopicPartition("orders", 1)


def test_a_request_is_for_the_assignment_that_was_heard_of_when_it_was_made() -> None:
    assignments = Assignments()
    assignments.note(ORDERS)
    heard = assignments.latest
    assert assignments.is_meant(ORDERS, heard)
    assignments.let_go([ORDERS])
    assert not assignments.is_meant(ORDERS, heard)
    assignments.note(ORDERS)
    assert not assignments.is_meant(ORDERS, heard)
    assert assignments.is_meant(ORDERS, assignments.latest)


def test_what_is_kept_is_meant_whatever_else_was_assigned_since() -> None:
    assignments = Assignments()
    assignments.note(ORDERS)
    heard = assignments.latest
    assignments.note(OTHERS)

    assert assignments.is_meant(ORDERS, heard)
    assert not assignments.is_meant(OTHERS, heard)


def test_of_what_was_let_go_nothing_is_left() -> None:
    assignments = Assignments()
    assignments.note(ORDERS)
    assignments.read_to[ORDERS] = 7
    assignments.let_go([ORDERS])

    assert ORDERS not in assignments
    assert (assignments.owned(), assignments.fresh, assignments.reading()) == (frozenset(), set(), [])
