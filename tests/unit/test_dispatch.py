"""What the dispatcher takes, claims and gives up; Celery's broker is the one that kombu keeps in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from queue import Empty
from typing import Any

import pytest
from celery import Celery

from kaufmann_celery import Kaufmann
from kaufmann_celery.dispatch import Dispatcher
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import Turn
from kaufmann_celery.outputs import outcome
from kaufmann_celery.outputs.composing import Composer
from kaufmann_celery.outputs.error_event import ErrorEvents
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.partitions.commit_metadata import Committed, incarnation_of
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.tasks.celery_out import TaskMessage
from kaufmann_celery.tasks.envelope import Decoded
from tests.unit import test_avro_reading as registries
from tests.unit.ledger_in_memory import InMemory, adopting, event, fetch, handler, offsets_of, owned_by

#: The longest text that Kafka keeps with a commit.
_MOST_CHARACTERS = 4096


class Decodes:
    """Decodes every record as an `order.placed`, but for those that nobody wants, or while the registry is away."""

    def __init__(self, lane: str | None = None) -> None:
        self.lane = lane
        self.unwanted: set[int] = set()
        self.away = False
        self.calls = 0

    def decode(self, record: Any) -> Decoded | None:
        self.calls += 1
        if self.away:
            raise UnavailableError
        if record.offset in self.unwanted:
            return None
        return replace(event(record.offset, of=handler(time_limit=9.0)).decoded, lane=self.lane)


class Scene:
    """An ingester's dispatcher; `max_demand` is 2 unless a test says otherwise."""

    def __init__(self, *, lane: str | None = None, queue: str | None = None, **settings: Any) -> None:
        kaufmann = Kaufmann("orders", celery=Celery(broker="memory://"), **{"max_demand": 2, **settings})
        kaufmann.on("order.elsewhere", queue=queue)(print)
        transcoders = registries.transcoders_of(registries.InMemory(), kaufmann.config)
        error_events = ErrorEvents(kaufmann.config, Composer(kaufmann.config, transcoders), transcoders.avro)
        self.celery = kaufmann.celery
        self.queue = kaufmann.default_queue
        self.decodes = Decodes(lane)
        #: Outstanding in partitions that are not here for a moment.
        self.elsewhere = 0
        self.dispatcher = Dispatcher(
            kaufmann, self.decodes, Failures(kaufmann.config, error_events), nudge=lambda _: None, group="orders"
        )

    def take(self, *owned: OwnedPartition) -> None:
        def guarded(one: OwnedPartition, step: Callable[[OwnedPartition], None]) -> None:
            step(one)

        self.dispatcher.take(owned, guarded, lambda: sum(one.outstanding for one in owned) + self.elsewhere)

    def sent(self) -> list[Any]:
        """Take the tasks out of the queue; return their arguments."""
        found = []
        with self.celery.connection_for_read() as connection, suppress(Empty):
            while True:
                message = connection.SimpleQueue(self.queue).get_nowait()
                message.ack()
                found.append(message.payload[0])
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture
def memory() -> InMemory:
    return InMemory()


def test_as_many_are_taken_as_there_are_slots(scene: Scene, memory: InMemory) -> None:
    owned = owned_by(memory)
    fetch(owned, 3, 4, 5)
    scene.take(owned)

    assert list(memory.model.claims) == [3, 4]
    owned.finish(3)
    scene.take(owned)
    assert sorted(owned.pending) == [4, 5]


def test_what_is_outstanding_elsewhere_holds_slots_here(scene: Scene, memory: InMemory) -> None:
    owned = owned_by(memory)
    fetch(owned, 3, 4, 5)
    scene.elsewhere = 1
    scene.take(owned)

    assert list(memory.model.claims) == [3]


def rests(memory: InMemory, *, events: int = 11, queue: str | None = None, ordering: str = "unordered") -> float:
    """Take *events* of 100 ms for two runners; return for how many seconds reports alone begin no turn."""
    scene, owned = Scene(max_demand=20, ordering=ordering, queue=queue), owned_by(memory)
    for number in range(10):
        scene.dispatcher.grouping.learn("order.placed", 1, 0.1, runner=f"runner {number % 2}", now=time.monotonic())
    fetch(owned, *range(3, 3 + events))
    scene.take(owned)
    return scene.dispatcher.rests_until - time.monotonic()


def test_where_runners_have_plenty_to_do_reports_alone_begin_no_turn_for_a_moment(memory: InMemory) -> None:
    assert 0.0 < rests(memory) < 0.05


@pytest.mark.parametrize("different", [{"events": 9}, {"ordering": "key"}, {"queue": "slow"}], ids=str)
def test_but_not_where_one_may_wait_for_them(memory: InMemory, different: Any) -> None:
    assert rests(memory, **different) < 0.0


@pytest.mark.parametrize("failure", [None, ValueError("of a run that was lost")], ids=["again", "to-be-concluded"])
@pytest.mark.parametrize("lane", [None, "a"])
def test_what_is_settled_while_it_waits_to_be_sent_again_is_not_sent(
    memory: InMemory, lane: str | None, failure: Exception | None
) -> None:
    """Its run was taken for lost, and its outcome came all the same."""
    scene, owned = Scene(lane=lane), owned_by(memory)
    fetch(owned, 3)
    scene.take(owned)
    event = owned.pending[3]
    event.failure = failure
    owned.ready.append(event)
    owned.finish(3)
    scene.take(owned)

    assert event.copies == 1
    assert memory.model.outcomes == {}
    assert list(owned.ready) == []


class TestAdopted:
    def test_they_are_taken_though_they_are_more_than_the_slots(self, scene: Scene, memory: InMemory) -> None:
        owned = adopting(memory, 4, 6, 7)
        fetch(owned, 3, 4, 5, 6, 7, 8)
        scene.take(owned)

        assert sorted(owned.pending) == [4, 6, 7]
        assert offsets_of(owned.held) == [3, 5, 8]
        assert set(memory.model.claims) == {4, 6, 7}

    def test_one_whose_record_is_gone_fails_unless_it_runs_or_ran(self, scene: Scene, memory: InMemory) -> None:
        owned = adopting(memory, 3, 4, outcomes=[5], leases=[4])
        fetch(owned, 8)
        scene.take(owned)

        concluded = outcome.decode(memory.model.outcomes[3])
        assert (concluded.failed, concluded.error_type) == (True, "DecodeError")
        assert "gone" in concluded.error
        assert (memory.model.leases, memory.model.outcomes[5]) == ({4: "run"}, b"")
        assert owned.watermark.safe_offset == 3

    def test_one_that_no_handler_wants_any_more_is_skipped(self, scene: Scene, memory: InMemory) -> None:
        scene.decodes.unwanted = {3}
        owned = adopting(memory, 3)
        fetch(owned, 3)
        scene.take(owned)

        assert (owned.pending, owned.watermark.safe_offset) == ({}, 4)

    def test_one_behind_another_of_its_lane_waits_for_it_though_that_has_no_slot(self, memory: InMemory) -> None:
        """The claim of the first was lost with Redis' last moments, and all slots are the adopted ones'."""
        scene, owned = Scene(lane="a"), adopting(memory, 5, 6, waiting_holds=True)
        fetch(owned, 3, 4, 5, 6)
        scene.sent()
        ran: list[int] = []
        for _ in range(10):
            scene.take(owned)
            for task in scene.sent():
                ran += [event[0] for event in task[5]]
                owned.finish(ran[-1])

        assert ran == [3, 4, 5, 6]

    def test_without_lanes_they_do_not_wait_for_others(self, memory: InMemory) -> None:
        scene, owned = Scene(), adopting(memory, 5, 6)
        fetch(owned, 3, 4, 5, 6)
        scene.take(owned)

        assert sorted(memory.model.claims) == [5, 6]
        assert [one.offset for one in owned.held] == [3, 4]


class TestBounds:
    def test_nothing_is_taken_beyond_the_window_of_the_lowest_unfinished_one(self, memory: InMemory) -> None:
        scene, owned = Scene(max_window=10), owned_by(memory)
        fetch(owned, 3, 12, 13)
        scene.take(owned)
        owned.finish(12)
        scene.take(owned)
        assert sorted(owned.pending) == [3]
        owned.finish(3)
        scene.take(owned)
        assert sorted(owned.pending) == [13]

    @pytest.mark.parametrize("lane", [None, "a"])
    def test_nothing_is_taken_that_the_commits_metadata_might_not_hold(
        self, memory: InMemory, lane: str | None
    ) -> None:
        """What waits unclaimed for its lane is in it too."""
        scene, owned = Scene(lane=lane, max_demand=5_000, max_window=10**9), owned_by(memory)
        fetch(owned, *range(0, 10**8, 50_000))
        scene.take(owned)
        taken = sorted({*owned.pending, *owned.parked})
        committed: Committed = owned.watermark.committed(incarnation_of("topic", "0123456789ab"), taken[1::2])

        assert 400 < len(taken) < 2_000
        assert len(committed.metadata()) <= _MOST_CHARACTERS


def test_the_next_of_a_lane_is_claimed_once_the_one_before_is_settled_not_when_its_outcome_is_there(
    memory: InMemory,
) -> None:
    """Redis may lose the outcome: the next would run while the one before runs again."""
    scene, owned = Scene(lane="a"), owned_by(memory)
    fetch(owned, 3, 4)
    scene.take(owned)
    scene.dispatcher.heard(owned, Turn(0, outcomes={3: b""}))
    scene.take(owned)
    assert sorted(memory.model.claims) == [3]
    owned.finish(3)
    scene.take(owned)
    assert 4 in memory.model.claims


def test_what_waited_for_its_lane_goes_before_what_is_new(memory: InMemory) -> None:
    scene, owned = Scene(lane="a"), owned_by(memory)
    fetch(owned, 3, 4)
    scene.take(owned)
    scene.decodes.lane = None
    fetch(owned, 5, 6)
    scene.take(owned)
    owned.finish(3)
    scene.take(owned)

    assert sorted(owned.pending) == [4, 5]


def test_one_whose_events_wait_for_each_other_takes_turns_with_the_others(memory: InMemory) -> None:
    """With each event that is settled another of its lane may go on."""
    scene, owned, other = Scene(lane="a", max_demand=1), owned_by(memory), owned_by(InMemory())
    fetch(owned, *range(3, 9))
    scene.take(owned, other)
    scene.decodes.lane = None
    fetch(other, *range(3, 9))
    ran = []
    for _ in range(6):
        (running,) = [one for one in (owned, other) if one.pending]
        ran.append(running is owned)
        running.finish(min(running.pending))
        scene.take(owned, other)

    assert ran == [True, False] * 3


@pytest.mark.parametrize("is_quick", [True, False])
def test_where_lanes_are_a_partition_gets_its_next_task_once_it_has_none_and_others_keep_the_workers_busy(
    is_quick: bool,
) -> None:
    scene, partitions = Scene(ordering="key", max_demand=100), [owned_by(InMemory()) for _ in range(8)]
    scene.dispatcher.grouping.is_quick = is_quick
    for offset in (3, 4):
        for owned in partitions:
            fetch(owned, offset)
        scene.take(*partitions)
    partitions[2].finish(3)
    scene.take(*partitions)

    waits = [3] if is_quick else [3, 4]
    assert [sorted(owned.pending) for owned in partitions] == [waits, waits, [4], waits, waits, waits, waits, waits]


def test_what_is_sent_carries_the_tag_of_its_owner(scene: Scene, memory: InMemory) -> None:
    owned = owned_by(memory)
    owned.ledger.tag = "mine"
    fetch(owned, 3)
    scene.take(owned)

    assert scene.sent()[-1][1:5] == ["history", "mine", "orders", 0]


def test_a_registry_that_is_away_is_asked_once_in_a_turn_and_for_another_partition_in_the_next(scene: Scene) -> None:
    """Each question may take as long as the registry's time-out."""
    partitions = [owned_by(InMemory()) for _ in range(3)]
    for owned in partitions:
        fetch(owned, 3)
    scene.decodes.away = True
    for turn in range(1, 4):
        with pytest.raises(UnavailableError):
            scene.take(*partitions)
        assert scene.decodes.calls == turn
    scene.decodes.away = False
    scene.take(*partitions)

    assert sum(len(owned.pending) for owned in partitions) == 2


def test_tasks_that_the_broker_may_not_have_are_sent_again_but_for_those_that_run(
    memory: InMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop goes on while the broker takes them, and hears in its next turn that it is away."""
    scene, owned = Scene(max_demand=3), owned_by(memory)
    answers = iter([UnavailableError(), None])
    taken: list[list[int]] = []

    def send(messages: Sequence[TaskMessage]) -> Callable[[], None]:
        taken.append([event.offset for message in messages for event in message.events])

        def sent() -> None:
            if (error := next(answers)) is not None:
                raise error

        return sent

    monkeypatch.setattr(scene.dispatcher._celery, "send", send)
    fetch(owned, 3, 4, 5)
    scene.take(owned)
    owned.pending[3].reported, owned.pending[4].leased = True, True
    with pytest.raises(UnavailableError):
        scene.take(owned)
    scene.take(owned)

    assert taken == [[3, 4, 5], [5]]
    assert (owned.pending[5].copies, owned.pending[5].sent_number) == (1, owned.pending[3].sent_number + 3)
