from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import pytest
from kafka import TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import FIRST, UNTAGGED, Fenced
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.ownership import Assignment, Ownership
from tests.integration.ledger_model import Refused
from tests.unit.ledger_in_memory import InMemory, connection_to, event

ORDERS = TopicPartition("orders", 0)
OTHERS = TopicPartition("orders", 1)


class Scene:
    """One ingester, and the ledgers of two partitions: orders:0 and orders:1."""

    def __init__(self, **settings: object) -> None:
        self.ledgers = {0: InMemory(), 1: InMemory()}
        self.begun: list[tuple[TopicPartition, int]] = []
        self.reopened: list[tuple[TopicPartition, Committed | None]] = []
        self.ownership = Ownership(
            load_config("orders", keywords=settings, conf={}, environ={}),
            connection_to(ByPartition(self.ledgers)),
            wake="wake",
            begin=lambda partition, offset: self.begun.append((partition, offset)),
            reopen=lambda partition, committed: self.reopened.append((partition, committed)),
        )

    def assigned(
        self,
        partition: TopicPartition = ORDERS,
        *,
        generation: int = 1,
        incarnation: str | None = "history",
        offset: int = 5,
    ) -> None:
        committed = Committed(offset, offset - 1, (), incarnation)
        self.ownership.assigned(Assignment(partition, generation, "m", "cluster", "topic", committed))

    def owner_is(self, generation: int, incarnation: str = "history", *, partition: int = 0) -> None:
        """Give the ledger to another member."""
        committed = Committed(0, -1, (), incarnation)
        with suppress(Refused):
            self.ledgers[partition].model.own(generation, "other", committed, question="may it", vouched="")
        self.ledgers[partition].model.own(generation, "other", committed, question="again", vouched="may it")

    def kafka_takes(self, commits: Mapping[TopicPartition, Committed]) -> None:
        self.ownership.answered(commits, None)

    def take_over(self) -> None:
        """Take over what is assigned, and what Kafka has to be asked for."""
        self.ownership.take_over()
        self.kafka_takes(self.ownership.unpinned())
        self.ownership.take_over()

    @property
    def owned(self) -> list[TopicPartition]:
        return [one.partition for one in self.ownership]


class ByPartition(InMemory):
    """One Redis with the ledgers of several partitions: their number ends the keys' common part."""

    def __init__(self, ledgers: dict[int, InMemory]) -> None:
        super().__init__()
        self._ledgers = ledgers

    def run(self, script: str, keys: object, args: object) -> object:
        assert isinstance(keys, tuple)
        assert isinstance(args, list)
        return self._ledgers[int(keys[0].partition("}")[0].rpartition("/")[2])].run(script, keys, args)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_partition_is_read_from_its_commit_once_its_ledger_is_ours(scene: Scene) -> None:
    scene.assigned(generation=3)
    assert (scene.owned, scene.begun) == ([], [])
    scene.take_over()

    assert (scene.owned, scene.begun) == ([ORDERS], [(ORDERS, 5)])
    assert (scene.ledgers[0].model.generation, scene.ledgers[0].model.member) == (3, "m")
    scene.take_over()
    assert scene.begun == [(ORDERS, 5)]


def test_what_the_ledger_holds_is_adopted(scene: Scene) -> None:
    scene.owner_is(1)
    model = scene.ledgers[0].model
    model.claims, model.outcomes, model.marks = {6: FIRST}, {7: b""}, {8}
    scene.assigned(generation=2)
    scene.ownership.take_over()
    owned = scene.ownership.owned[ORDERS]

    assert (owned.adopted, owned.finished_early, owned.outstanding) == ({6, 7}, {8}, 2)


@pytest.mark.parametrize(("settings", "holds"), [({}, False), ({"max_demand": 1}, True)])
def test_with_one_event_at_a_time_what_waits_for_its_retry_keeps_its_slot(
    settings: dict[str, object], *, holds: bool
) -> None:
    scene = Scene(**settings)
    scene.assigned()
    scene.take_over()

    assert scene.ownership.owned[ORDERS].waiting_holds == holds


@pytest.mark.parametrize(("settings", "tagged"), [({}, False), ({"max_demand": 1}, True), ({"ordering": "key"}, True)])
def test_where_events_are_ordered_what_a_former_owner_sent_begins_nothing_more(
    settings: dict[str, object], *, tagged: bool
) -> None:
    """A task that outlives a loss of Redis' data has a dispatch number that is used again."""
    scene, tags = Scene(**settings), []
    for generation in (1, 2):
        scene.assigned(generation=generation)
        scene.take_over()
        owned = scene.ownership.owned[ORDERS]
        owned.ledger.claim([6])
        assert scene.ledgers[0].model.tags == {6: owned.ledger.tag}
        tags.append(owned.ledger.tag)

    assert (tags[0] != tags[1], UNTAGGED in tags) == (tagged, not tagged)


class TestPinning:
    def test_a_new_ledger_is_not_owned_before_kafka_has_its_incarnation(self, scene: Scene) -> None:
        scene.assigned(incarnation=None)
        scene.ownership.take_over()
        assert (scene.owned, scene.ledgers[0].model.incarnation) == ([], None)

        ((partition, pin),) = scene.ownership.unpinned().items()
        assert (partition, pin.offset, pin.highest) == (ORDERS, 5, 4)
        assert pin.incarnation
        scene.ownership.take_over()
        assert scene.owned == []

        scene.kafka_takes({ORDERS: pin})
        assert scene.ownership.unpinned() == {}
        scene.ownership.take_over()
        assert scene.ownership.owned[ORDERS].ledger.incarnation == pin.incarnation
        assert scene.ownership.owned[ORDERS].committed == pin

    def test_an_empty_ledger_is_not_owned_before_kafka_has_taken_the_commit_that_names_it(self, scene: Scene) -> None:
        """Its owner may have slept through two rebalances, and Redis was emptied after the next one had committed."""
        scene.assigned()
        scene.ownership.take_over()
        assert (scene.owned, scene.ledgers[0].model.incarnation) == ([], None)

        asked = scene.ownership.unpinned()
        assert asked == {ORDERS: Committed(5, 4, (), "history")}
        scene.ownership.take_over()
        assert (scene.owned, scene.ownership.unpinned()) == ([], {})

        scene.kafka_takes(asked)
        scene.ownership.take_over()
        assert (scene.owned, scene.ledgers[0].model.incarnation) == ([ORDERS], "history")

    @pytest.mark.parametrize("meanwhile", ["asked", "owned", "owned and emptied"])
    def test_an_answer_that_came_before_another_asked_or_owned_is_no_word_for_what_that_one_holds(
        self, scene: Scene, meanwhile: str
    ) -> None:
        """The process stood still between the answer and *own*, while the group was deleted and made anew."""
        scene.assigned()
        scene.ownership.take_over()
        scene.kafka_takes(scene.ownership.unpinned())
        if meanwhile == "asked":
            with pytest.raises(Refused):
                scene.ledgers[0].model.own(1, "other", Committed(0, -1, (), "later"), question="may it", vouched="")
        else:
            scene.owner_is(1, "later")
        if meanwhile == "owned and emptied":
            scene.ledgers[0].model = InMemory().model
        scene.ownership.take_over()

        assert scene.owned == []
        assert scene.ledgers[0].model.incarnation == ("later" if meanwhile == "owned" else None)
        scene.ownership.answered(scene.ownership.unpinned(), kafka_errors.IllegalGenerationError())
        scene.ownership.take_over()
        assert scene.owned == []

    def test_an_answer_that_came_too_late_is_asked_for_again(self, scene: Scene) -> None:
        scene.assigned()
        scene.ownership.take_over()
        scene.kafka_takes(scene.ownership.unpinned())
        scene.owner_is(1, "older")
        scene.take_over()

        assert (scene.owned, scene.ledgers[0].model.incarnation) == ([ORDERS], "history")

    def test_whoever_kafka_refuses_makes_no_ledger(self, scene: Scene) -> None:
        scene.assigned()
        for _ in range(3):
            scene.ownership.take_over()
            scene.ownership.answered(scene.ownership.unpinned(), kafka_errors.IllegalGenerationError())
        scene.ownership.take_over()

        assert (scene.owned, scene.ledgers[0].model.incarnation) == ([], None)

    def test_a_pin_that_kafka_did_not_take_is_followed_by_another(self, scene: Scene) -> None:
        scene.assigned(incarnation=None)
        scene.ownership.take_over()
        first = scene.ownership.unpinned()
        assert scene.ownership.unpinned() == {}
        scene.ownership.answered(first, kafka_errors.RebalanceInProgressError())
        second = scene.ownership.unpinned()

        assert first[ORDERS].incarnation != second[ORDERS].incarnation
        scene.kafka_takes(first)
        scene.ownership.take_over()
        assert scene.owned == []
        scene.kafka_takes(second)
        scene.ownership.take_over()
        assert scene.owned == [ORDERS]

    def test_a_ledger_of_the_commits_incarnation_needs_no_further_commit(self, scene: Scene) -> None:
        scene.owner_is(1)
        scene.assigned(generation=2)
        scene.ownership.take_over()

        assert (scene.owned, scene.ownership.unpinned()) == ([ORDERS], {})

    @pytest.mark.parametrize("incarnation", [None, "history"])
    def test_an_answer_to_an_earlier_assignment_pins_nothing(self, scene: Scene, incarnation: str | None) -> None:
        scene.assigned(incarnation=incarnation)
        scene.ownership.take_over()
        pin = scene.ownership.unpinned()
        scene.assigned(incarnation=incarnation, generation=2)
        scene.ownership.take_over()
        scene.kafka_takes(pin)
        scene.ownership.take_over()

        assert scene.owned == []

    def test_an_answer_for_what_is_not_assigned_is_no_matter(self, scene: Scene) -> None:
        scene.kafka_takes({ORDERS: Committed(0, -1, (), "history")})
        scene.assigned(incarnation=None)
        scene.ownership.take_over()
        pin = scene.ownership.unpinned()
        scene.ownership.drop(ORDERS)
        scene.kafka_takes(pin)
        scene.ownership.take_over()

        assert scene.owned == []

    def test_a_group_made_anew_takes_over_what_the_old_one_left(self, scene: Scene) -> None:
        scene.owner_is(9)
        scene.ledgers[0].model.claims = {6: FIRST}
        scene.assigned(incarnation=None)
        scene.take_over()

        assert scene.owned == [ORDERS]
        assert (scene.ledgers[0].model.generation, scene.ledgers[0].model.claims) == (1, {})


class TestRefused:
    def test_it_is_never_read_while_kafka_refuses_it_and_taken_over_with_the_later_generation(
        self, scene: Scene
    ) -> None:
        scene.owner_is(9)
        scene.assigned(generation=2)
        for _ in range(3):
            scene.ownership.take_over()
            scene.ownership.answered(scene.ownership.unpinned(), kafka_errors.IllegalGenerationError())
        assert (scene.owned, scene.begun) == ([], [])

        scene.ownership.kept(ORDERS, 10)
        scene.take_over()
        assert scene.owned == [ORDERS]

    def test_a_later_generation_that_kafka_has_forgotten_holds_nothing_up(self, scene: Scene) -> None:
        scene.owner_is(9)
        scene.ledgers[0].model.claims = {6: FIRST}
        scene.assigned(generation=2)
        scene.take_over()

        assert (scene.owned, scene.ownership.owned[ORDERS].adopted) == ([ORDERS], {6})
        assert scene.ledgers[0].model.generation == 2

    def test_it_keeps_no_other_partition_waiting(self, scene: Scene) -> None:
        scene.owner_is(9)
        scene.owner_is(1, partition=1)
        scene.assigned(generation=2)
        scene.assigned(OTHERS, generation=2)
        scene.ownership.take_over()

        assert scene.owned == [OTHERS]

    def test_a_ledger_of_another_incarnation_is_taken_over_once_kafka_vouches(self, scene: Scene) -> None:
        """A group made anew pinned its incarnation, and died before it owned the ledger that the old one left."""
        scene.owner_is(9, "old")
        scene.assigned(generation=2)
        scene.ownership.take_over()
        asked = scene.ownership.unpinned()
        assert asked == {ORDERS: Committed(5, 4, (), "history")}
        assert scene.ownership.unpinned() == {}
        scene.ownership.take_over()
        assert scene.owned == []

        scene.kafka_takes(asked)
        scene.ownership.take_over()
        assert (scene.owned, scene.ledgers[0].model.incarnation) == ([ORDERS], "history")


def test_a_redis_that_is_away_is_waited_for(scene: Scene) -> None:
    scene.ledgers[0].away = True
    scene.assigned()
    with pytest.raises(UnavailableError):
        scene.ownership.take_over()
    scene.ledgers[0].away = False
    scene.take_over()

    assert scene.owned == [ORDERS]


def test_a_partition_kept_through_a_rebalance_has_the_new_generation(scene: Scene) -> None:
    scene.assigned()
    scene.assigned(OTHERS)
    scene.ownership.take_over()
    scene.kafka_takes(scene.ownership.unpinned())
    scene.ledgers[1].away = True
    with pytest.raises(UnavailableError):
        scene.ownership.take_over()
    scene.ledgers[1].away = False
    scene.ownership.kept(ORDERS, 4)
    scene.ownership.kept(OTHERS, 4)
    scene.take_over()

    assert [one.ledger.generation for one in scene.ownership] == [4, 4]


def test_a_partition_that_was_dropped_is_not_taken_over(scene: Scene) -> None:
    scene.assigned()
    scene.ownership.drop(ORDERS)
    scene.ownership.take_over()

    assert scene.owned == []


@pytest.mark.parametrize("lost", [True, False])
def test_a_fenced_partition_is_dropped_and_rebuilt_only_where_its_ledger_is_gone(scene: Scene, *, lost: bool) -> None:
    scene.assigned()
    scene.take_over()

    def fenced(_: OwnedPartition) -> None:
        raise Fenced(lost=lost)

    scene.ownership.guarded(scene.ownership.owned[ORDERS], fenced)
    assert scene.owned == []
    assert scene.reopened == ([(ORDERS, Committed(5, 4, (), "history"))] if lost else [])


def test_a_partition_of_which_nobody_knows_what_is_committed_is_announced_again(scene: Scene) -> None:
    scene.assigned()
    scene.take_over()
    scene.ownership.reread(scene.ownership.owned[ORDERS])

    assert scene.owned == []
    assert scene.reopened == [(ORDERS, None)]


def test_what_is_outstanding_in_a_partition_holds_its_slots_until_it_is_taken_over_again(scene: Scene) -> None:
    """What it had claimed may run on meanwhile; once it is taken over, it counts as adopted."""
    scene.assigned()
    scene.take_over()
    owned = scene.ownership.owned[ORDERS]
    owned.pending = {5: event(5), 6: event(6)}
    owned.ledger.claim([5, 6])
    scene.ownership.reread(owned)
    found = [scene.ownership.outstanding]
    scene.assigned()
    found.append(scene.ownership.outstanding)
    scene.take_over()
    found.append(scene.ownership.outstanding)
    scene.ownership.drop(ORDERS)

    assert (found, scene.ownership.outstanding) == ([2, 2, 2], 0)


def test_a_partition_that_is_let_go_of_and_not_assigned_again_holds_no_slots(scene: Scene) -> None:
    scene.assigned()
    scene.take_over()
    owned = scene.ownership.owned[ORDERS]
    owned.pending = {5: event(5)}
    scene.ownership.reread(owned)
    scene.ownership.drop(ORDERS)

    assert scene.ownership.outstanding == 0
