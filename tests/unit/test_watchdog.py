from __future__ import annotations

import time

import pytest

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import FIRST, UNTAGGED, Past
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending
from kaufmann_celery.tasks.watchdog import Watchdog
from tests.unit.ledger_in_memory import InMemory, event, fetch, handler, owned_by, running, take


class Scene:
    """One partition, a queue, and a watchdog over both."""

    def __init__(self) -> None:
        self.memory = InMemory()
        self.owned: OwnedPartition = owned_by(self.memory)
        #: Messages in each queue.
        self.waiting = {"fast": 1, "slow": 1}
        self.asked: list[str] = []
        self.now = time.monotonic()
        self.dog = Watchdog(self.count, lambda one: one.options.queue or "fast")

    def count(self, queue: str) -> int:
        self.asked.append(queue)
        return self.waiting[queue]

    def sent(self, offset: int, number: int, *, seconds_ago: float, copies: int = 1, queue: str = "fast") -> Pending:
        (pending,) = running(self.owned, offset, of=handler(queue=queue))
        self.owned.ready.clear()
        for _ in range(copies):
            pending.sent(time.monotonic() - seconds_ago, number)
        return pending

    def look(self) -> list[int]:
        """Return what is to be sent again."""
        self.dog.look(self.owned)
        return [one.offset for one in self.owned.ready]

    def next_look(self) -> list[int]:
        """Look again a second later, when the queues are counted anew."""
        self.owned.ready.clear()
        self.now += 1.0
        assert self.dog.is_due(self.now)
        return self.look()

    def begin(self, pending: Pending) -> None:
        self.memory.model.lease(pending.offset, "run")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_late_task_that_a_later_one_overtook_is_sent_again(scene: Scene) -> None:
    late = scene.sent(1, 1, seconds_ago=4.0)
    scene.dog.begun(scene.sent(2, 2, seconds_ago=0.1))

    assert scene.look() == [1]
    assert late.sent_at is None


def test_a_task_known_to_run_overtakes_those_sent_before(scene: Scene) -> None:
    scene.sent(1, 1, seconds_ago=4.0)
    runs = scene.sent(2, 2, seconds_ago=4.0)
    scene.begin(runs)
    scene.look()

    assert scene.next_look() == [1]
    assert runs.leased
    assert runs.sent_at is not None


def test_a_later_task_of_another_queue_overtakes_nobody(scene: Scene) -> None:
    scene.sent(1, 1, seconds_ago=4.0)
    scene.dog.begun(scene.sent(2, 2, seconds_ago=0.1, queue="slow"))

    assert scene.look() == []


def test_a_late_task_whose_queue_is_empty_is_sent_again(scene: Scene) -> None:
    scene.sent(1, 1, seconds_ago=4.0)
    scene.waiting["fast"] = 0

    assert scene.look() == [1]


def test_a_late_task_that_waits_its_turn_is_not_sent_again(scene: Scene) -> None:
    late = scene.sent(1, 1, seconds_ago=1000.0)

    assert scene.look() == []
    assert late.sent_at is not None


def test_that_no_worker_takes_a_task_is_said_with_its_queue(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.sent(1, 1, seconds_ago=14.0)
    scene.look()
    assert caplog.records == []

    scene.sent(2, 2, seconds_ago=16.0)
    scene.look()
    scene.next_look()
    (said,) = caplog.records
    assert said.getMessage().startswith("no worker has taken a task from the queue fast for 16 s; does one consume it?")


def test_while_workers_take_tasks_those_that_wait_long_are_nothing_to_say(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.dog.begun(scene.sent(1, 1, seconds_ago=1000.0))
    scene.sent(2, 2, seconds_ago=1000.0)
    scene.look()

    assert caplog.records == []


def test_each_queue_is_counted_once_for_each_look(scene: Scene) -> None:
    for offset in range(5):
        scene.sent(offset, 1, seconds_ago=4.0)
    scene.look()
    assert scene.asked == ["fast"]
    scene.next_look()
    assert scene.asked == ["fast", "fast"]


@pytest.mark.parametrize(
    ("copies", "seconds_ago", "again"),
    [
        (1, 2.9, False),
        (1, 3.1, True),
        (2, 5.9, False),
        (2, 6.1, True),
        (3, 12.1, False),
        (3, 23.9, False),
        (3, 24.1, True),
    ],
)
def test_each_copy_is_waited_for_twice_as_long_and_there_are_at_most_three(
    scene: Scene, *, copies: int, seconds_ago: float, again: bool
) -> None:
    late = scene.sent(1, 1, seconds_ago=seconds_ago, copies=copies)
    scene.waiting["fast"] = 0

    assert scene.look() == ([1] if again else [])
    assert late.copies <= 3


def test_never_more_than_three_copies_are_on_their_way_within_the_time_that_loses_them(scene: Scene) -> None:
    scene.waiting["fast"] = 0
    late = scene.sent(1, 1, seconds_ago=0.0)
    sent = [0.0]
    for second in range(1, 36):
        late.sent_at = time.monotonic() - (second - sent[-1] - 0.5)
        if scene.next_look():
            late.sent(time.monotonic(), 1)
            sent.append(float(second))

    assert sent == [0.0, 4.0, 11.0]


@pytest.mark.parametrize("state", ["waiting", "leased", "reported"])
def test_what_waits_runs_or_has_reported_is_not_late(scene: Scene, state: str) -> None:
    scene.waiting["fast"] = 0
    quiet = scene.sent(1, 1, seconds_ago=1000.0)
    setattr(quiet, state, True)
    if state == "leased":
        scene.begin(quiet)
    if state == "reported":
        scene.memory.model.conclude(1, b"")

    assert scene.look() == []
    assert scene.look() == []


@pytest.mark.parametrize("state", ["late", "waiting", "leased", "reported"])
def test_a_claim_that_redis_forgot_begins_again_at_number_one(scene: Scene, state: str) -> None:
    pending = scene.sent(1, 1, seconds_ago=4.0)
    pending.past = Past(3, 1)
    if state != "late":
        setattr(pending, state, True)
    scene.memory.model.claims.clear()

    assert scene.look() == [1]
    assert scene.memory.model.claims == {1: FIRST}
    assert (pending.past, pending.waiting, pending.leased, pending.reported) == (FIRST, False, False, False)


def test_a_claim_of_what_was_just_sent_is_looked_at_when_it_is_late(scene: Scene) -> None:
    scene.sent(1, 1, seconds_ago=0.5)
    scene.memory.model.claims.clear()

    assert scene.look() == []


def test_a_retry_that_was_not_heard_of_yet_is_not_run_before_its_time(scene: Scene) -> None:
    pending = scene.sent(1, 1, seconds_ago=4.0)
    scene.waiting["fast"], pending.leased = 0, True
    scene.memory.model.claims[1], scene.memory.due[1] = Past(2), 60_000

    assert scene.look() == []


def test_an_outcome_found_only_now_is_awaited(scene: Scene) -> None:
    pending = scene.sent(1, 1, seconds_ago=4.0)
    scene.memory.model.conclude(1, b"done")

    assert scene.look() == []
    assert pending.reported


def test_what_the_ledger_holds_as_finished_is_finished(scene: Scene) -> None:
    scene.sent(1, 1, seconds_ago=4.0)
    scene.memory.model.settle([1])

    assert scene.look() == []
    assert scene.owned.pending == {}


def test_a_claim_that_came_back_after_its_event_was_finished_is_dropped(scene: Scene) -> None:
    """Redis lost its last moments, and the ledger is what it was before."""
    scene.sent(1, 1, seconds_ago=0.1)
    scene.owned.finish(1)
    scene.look()

    assert (scene.memory.model.claims, scene.memory.model.marks) == ({}, {1})


def test_a_claim_whose_record_is_yet_to_be_read_is_kept(scene: Scene) -> None:
    scene.memory.model.claim([7], UNTAGGED)
    fetch(scene.owned, 7)
    scene.look()
    assert scene.memory.model.claims == {7: FIRST}
    take(scene.owned, 1)
    scene.look()
    assert scene.memory.model.claims == {7: FIRST}


def test_a_failure_that_no_worker_reports_is_concluded_again_where_it_was_lost(scene: Scene) -> None:
    """Its record was not to be had or not to be decoded: it has no handler, and no queue."""
    failed = event(1)
    scene.owned.pending[1] = failed
    failed.reported = True

    assert scene.look() == [1]
    assert scene.asked == []


def test_a_redis_that_is_away_is_waited_for_and_loses_nothing(scene: Scene) -> None:
    late = scene.sent(1, 1, seconds_ago=4.0)
    scene.waiting["fast"], scene.memory.away = 0, True
    with pytest.raises(UnavailableError):
        scene.look()
    assert late.sent_at is not None
    scene.memory.away = False
    assert scene.look() == [1]


def test_it_is_time_to_look_once_a_second(scene: Scene) -> None:
    assert [scene.dog.is_due(now) for now in (100.0, 100.5, 100.9, 101.0, 101.5)] == [True, False, False, True, False]
