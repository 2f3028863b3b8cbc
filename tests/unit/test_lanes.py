from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery.handlers import Handler
from kaufmann_celery.ledger import Past
from kaufmann_celery.partitions.lanes import Lanes
from kaufmann_celery.partitions.pending import Pending
from kaufmann_celery.tasks.envelope import Decoded
from tests.unit.ledger_in_memory import handler, record

PLACED = handler()


def event(offset: int, lane: str | None = "a", of: Handler = PLACED) -> Pending:
    return Pending(record(offset), Decoded("order.placed", of, "", lane=lane))


@pytest.fixture
def lanes() -> Lanes:
    return Lanes()


def entered(lanes: Lanes, pending: Pending) -> Pending:
    """Enter as `OwnedPartition.deliver` does."""
    pending.parked = not lanes.enter(pending)
    return pending


def under_way(lanes: Lanes, pending: Pending) -> Pending:
    entered(lanes, pending)
    pending.sent(0.0, 1)
    return pending


def freed(lanes: Lanes) -> list[int]:
    offsets = [pending.offset for pending in lanes.freed]
    lanes.freed.clear()
    return offsets


def test_the_first_of_a_lane_goes_at_once_and_so_do_events_without_a_lane(lanes: Lanes) -> None:
    under_way(lanes, event(1))

    assert lanes.enter(event(2, "b"))
    assert lanes.enter(event(3, None))
    assert not lanes.enter(event(4))


def test_the_next_goes_once_the_one_before_is_settled(lanes: Lanes) -> None:
    first = under_way(lanes, event(1))
    second = entered(lanes, event(2))
    first.reported = True

    assert not lanes.is_next(second)
    lanes.leave(1)
    assert freed(lanes) == [2]
    assert lanes.is_next(second)


def test_consecutive_events_of_one_handler_may_share_a_task(lanes: Lanes) -> None:
    first, second = event(1), event(2)

    assert lanes.enter(first)
    assert lanes.enter(second)
    assert lanes.is_next(second, Counter({"a": 1}))
    assert not lanes.is_next(second)


def test_events_of_another_handler_wait(lanes: Lanes) -> None:
    lanes.enter(event(1))

    assert not lanes.enter(event(2, of=handler("order.paid")))


@pytest.mark.parametrize("state", ["leased", "reported", "waiting", "parked"])
def test_nothing_joins_one_that_is_under_way(lanes: Lanes, state: str) -> None:
    first = entered(lanes, event(1))
    setattr(first, state, True)

    assert not lanes.enter(event(2))


def test_nothing_joins_one_that_ran_before(lanes: Lanes) -> None:
    first = entered(lanes, event(1))
    first.past = Past(2)

    assert not lanes.enter(event(2))


def test_those_that_waited_go_together_as_far_as_they_may(lanes: Lanes) -> None:
    under_way(lanes, event(1))
    for offset in (2, 3):
        entered(lanes, event(offset))
    entered(lanes, event(4, of=handler("order.paid")))
    entered(lanes, event(5))
    lanes.leave(1)

    assert freed(lanes) == [2, 3]
    for offset in (2, 3):
        lanes.leave(offset)
    assert freed(lanes) == [4]


def test_one_that_was_adopted_and_read_first_keeps_its_place(lanes: Lanes) -> None:
    later = entered(lanes, event(5))
    later.leased = True
    earlier = entered(lanes, event(2))

    assert lanes.is_next(earlier)
    assert not lanes.is_next(later)


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.booleans()), min_size=1, max_size=30),
    st.data(),
)
def test_whatever_happens_each_lane_runs_in_order_and_all_of_it_runs(
    events: list[tuple[str | None, bool]], data: st.DataObject
) -> None:
    """Tasks of up to three events; a task may stop half-way, and what it held back goes again."""
    lanes, paid = Lanes(), handler("order.paid")
    pendings = [event(offset, lane, PLACED if placed else paid) for offset, (lane, placed) in enumerate(events)]
    unread, ready, running, done = list(pendings), list[Pending](), list[list[Pending]](), list[int]()
    while len(done) < len(pendings):
        ready += [lanes.freed.popleft() for _ in range(len(lanes.freed))]
        step = data.draw(
            st.sampled_from([s for s, can in (("read", unread), ("send", ready), ("run", running)) if can])
        )
        if step == "read":
            pending = entered(lanes, unread.pop(0))
            ready += [] if pending.parked else [pending]
        elif step == "send":
            running += [task] if (task := _task_of(lanes, ready)) else []
        else:
            _run(lanes, running.pop(data.draw(st.integers(0, len(running) - 1))), ready, done, data)
    for lane in ("a", "b"):
        of_lane = [offset for offset in done if pendings[offset].decoded.lane == lane]
        assert of_lane == sorted(of_lane)


def _task_of(lanes: Lanes, ready: list[Pending]) -> list[Pending]:
    """As the dispatcher forms a task."""
    first = ready.pop(0)
    first.parked = not lanes.is_next(first)
    task, taken = [] if first.parked else [first], Counter([first.decoded.lane or ""])
    while (
        task and not first.goes_alone and ready and len(task) < 3 and ready[0].decoded.handler is first.decoded.handler
    ):
        pending = ready.pop(0)
        pending.parked = not lanes.is_next(pending, taken)
        if not pending.parked:
            task.append(pending)
            taken[pending.decoded.lane or ""] += 1
    for pending in task:
        pending.sent(0.0, 1)
    return task


def _run(lanes: Lanes, task: list[Pending], ready: list[Pending], done: list[int], data: st.DataObject) -> None:
    """Run a task up to the first of each lane that does not succeed."""
    stopped: set[str] = set()
    for pending in task:
        lane = pending.decoded.lane
        if lane in stopped or data.draw(st.sampled_from([True, True, False])) is False:
            stopped |= {lane} if lane else set()
            pending.past, pending.sent_at = Past(pending.past.d + 1), None
            ready.append(pending)
        else:
            assert lanes.is_next(pending), "another of its lane is not settled"
            done.append(pending.offset)
            lanes.leave(pending.offset)
