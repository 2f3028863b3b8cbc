"""The ledger's rules for a partition's owner, one by one, on real servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kaufmann_celery.ledger import Claimed, Fenced, Past
from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.integration.ledger_scene import NOTHING, LedgerScene, died, looked, report, retry

#: What a group commits that was reset, or deleted and made anew.
OTHER = Committed(0, -1, (), "other")


class TestOwning:
    def test_an_empty_ledger_takes_the_incarnation_of_the_commit_that_kafka_took(self, scene: LedgerScene) -> None:
        with pytest.raises(Fenced) as caught:
            scene.owner(committed=NOTHING, vouched=False)
        assert caught.value.lost
        assert (scene.held().owner, scene.held().asked) == ((None, None, None), "m in 1")

        assert scene.owner(committed=NOTHING, vouched=True).incarnation == "history"

    def test_a_commit_of_another_incarnation_discards_the_ledger(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])
        taken = scene.owner(2, committed=OTHER, vouched=True)

        assert taken.incarnation == "other"
        held = scene.held()
        assert held.owner == ("other", "2", "m")
        assert (held.claims, held.leases, held.runs) == ({}, {}, {})

    def test_a_ledger_that_has_an_owner_is_discarded_on_kafkas_word_alone(self, scene: LedgerScene) -> None:
        scene.owner(1, "n").claim([1])
        held = scene.held()

        with pytest.raises(Fenced) as caught:
            scene.owner(2, "m", committed=OTHER, vouched=False)
        assert caught.value.lost
        assert scene.held() == replace(held, asked="m in 2")

    def test_a_zombie_of_an_older_incarnation_deletes_nothing(self, scene: LedgerScene) -> None:
        """It read the commit, slept, and the group was reset meanwhile and goes on."""
        scene.owner(2, "n", committed=OTHER).claim([1])
        scene.run(incarnation="other").begin([(1, 1)])
        held = scene.held()

        with pytest.raises(Fenced) as caught:
            scene.owner(1, "m", committed=NOTHING, vouched=False)
        assert caught.value.lost
        assert scene.held() == replace(held, asked="m in 1")
        assert held.leases == {1: "run"}

    def test_a_group_made_anew_takes_a_ledger_over_once_kafka_vouches_for_it(self, scene: LedgerScene) -> None:
        """Its generations start again at 1."""
        old = scene.owner(9)
        old.claim([1])
        with pytest.raises(Fenced):
            scene.owner(1, "n", committed=OTHER, vouched=False)
        taken = scene.owner(1, "n", committed=OTHER, vouched=True)

        assert taken.incarnation == "other"
        assert (scene.held().owner, scene.held().claims) == (("other", "1", "n"), {})
        with pytest.raises(Fenced) as caught:
            old.claim([2])
        assert caught.value.lost

    def test_who_slept_through_two_rebalances_owns_no_ledger_that_was_emptied_since(self, scene: LedgerScene) -> None:
        """It would claim what its successor has finished and committed, and publish it again."""
        scene.owner(3, "n").claim([1])
        scene.client.delete(*keys_of(scene.base))

        with pytest.raises(Fenced):
            scene.owner(1, "m", vouched=False)
        assert scene.owner(3, "n").claim([2]) == {}

    @pytest.mark.parametrize(
        "meanwhile", ["nothing", "another asks", "another owns", "another of before goes on", "emptied"]
    )
    def test_kafkas_word_is_for_the_question_that_it_followed(self, scene: LedgerScene, meanwhile: str) -> None:
        """Who stands still between the two finds what others made of the ledger since."""
        before = scene.owner(9, "before", committed=OTHER)
        late = scene.unowned(1, "late")
        with pytest.raises(Fenced):
            late.own(NOTHING, wake="wake", question="late's")
        if meanwhile == "another asks":
            with pytest.raises(Fenced):
                scene.owner(1, "n", committed=Committed(0, -1, (), "later"), vouched=False)
        elif meanwhile == "another owns":
            scene.owner(1, "n", committed=Committed(0, -1, (), "later"))
        elif meanwhile == "another of before goes on":
            before.claim([1])
        elif meanwhile == "emptied":
            scene.client.delete(*keys_of(scene.base))

        if meanwhile in ("nothing", "another of before goes on"):
            late.own(NOTHING, wake="wake", question="again", vouched="late's")
            assert (scene.held().owner, scene.held().claims) == (("history", "1", "late"), {})
        else:
            held = scene.held()
            with pytest.raises(Fenced) as caught:
                late.own(NOTHING, wake="wake", question="again", vouched="late's")
            assert caught.value.lost
            assert scene.held() == replace(held, asked="again")

    def test_who_takes_its_own_ledger_over_leaves_no_question_in_it(self, scene: LedgerScene) -> None:
        scene.owner(1, "m").claim([1])
        with pytest.raises(Fenced):
            scene.owner(1, "late", committed=OTHER, vouched=False)
        scene.owner(2, "n")

        with pytest.raises(Fenced):
            scene.unowned(1, "late").own(OTHER, wake="wake", question="again", vouched="late in 1")
        assert scene.held().claims == {1: Past(1)}

    @pytest.mark.parametrize(("generation", "member"), [(1, "m"), (2, "m"), (1, "n")])
    def test_a_ledger_of_a_later_generation_is_taken_over_on_kafkas_word_alone(
        self, scene: LedgerScene, generation: int, member: str
    ) -> None:
        """Kafka has lost the end of its log, and with it its last generations."""
        later = scene.owner(2, "n")
        later.claim([1])
        held = scene.held()

        with pytest.raises(Fenced) as caught:
            scene.owner(generation, member, vouched=False)
        assert not caught.value.lost
        assert scene.held() == replace(held, asked=f"{member} in {generation}")
        scene.owner(generation, member, vouched=True)
        assert scene.held() == replace(held, owner=("history", str(generation), member))

    @pytest.mark.parametrize("vouched", [True, False])
    def test_an_equal_generation_of_another_member_needs_kafkas_word(
        self, scene: LedgerScene, *, vouched: bool
    ) -> None:
        scene.owner(1, "m").claim([1])

        if not vouched:
            with pytest.raises(Fenced):
                scene.owner(1, "n", committed=OTHER, vouched=False)
        else:
            scene.owner(1, "n", committed=OTHER, vouched=True)
        assert scene.held().claims == ({} if vouched else {1: Past(1, 0)})

    def test_owning_again_keeps_what_is_there(self, scene: LedgerScene) -> None:
        scene.owner(1, "m").claim([1])
        scene.owner(1, "m")

        assert scene.held().claims == {1: Past(1, 0)}

    def test_what_is_left_of_a_ledger_whose_owner_has_expired_is_another_history(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.client.delete(keys_of(scene.base)[0])

        scene.owner(committed=NOTHING)

        assert scene.held().claims == {}

    def test_own_returns_what_is_claimed_reported_and_marked(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3])
        scene.run().begin([(2, 1), (3, 1)])
        report(scene.run(), (2, 1), (3, 1))
        owner.settle([3])

        assert scene.unowned(2).own(NOTHING, wake="wake", question="may it") == ({1}, {2}, {3})

    def test_own_drops_what_the_commit_holds(self, scene: LedgerScene) -> None:
        """The commit landed and the ingester died before the ledger heard of it."""
        owner = scene.owner()
        owner.claim(range(8))
        run = scene.run()
        run.begin([(offset, 1) for offset in range(8)])
        report(run, (1, 1), (4, 1), last=False)
        died(scene.run("other"), (7, 1))
        owner.settle([1])
        taken = scene.unowned(2).own(Committed(3, 6, (3, 5), "history"), wake="wake", question="may it")

        assert taken == ({3, 5, 7}, set(), set())
        assert set(scene.held().leases) == {3, 5, 7}

    def test_own_drops_also_what_was_to_run_again(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().release([(1, 1)], reason="revoked", at_fault=False, text="")
        scene.owner(2, committed=Committed(2, 1, (), "history"))

        assert (scene.held().claims, scene.held().due, scene.held().raised) == ({}, set(), {})

    def test_a_lower_generation_is_refused(self, scene: LedgerScene) -> None:
        old = scene.owner(1)
        scene.owner(2)

        for call in every_call(old):
            with pytest.raises(Fenced) as caught:
                call()
            assert not caught.value.lost
        with pytest.raises(Fenced):
            scene.unowned(1).own(NOTHING, wake="wake", question="may it")

    def test_another_member_of_the_same_generation_is_refused(self, scene: LedgerScene) -> None:
        scene.owner(1, "m")
        other = scene.unowned(1, "n")
        other.incarnation = "history"

        with pytest.raises(Fenced):
            other.claim([1])
        with pytest.raises(Fenced):
            scene.owner(1, "n", vouched=False)

    def test_a_higher_generation_takes_over_without_owning_anew(self, scene: LedgerScene) -> None:
        owner = scene.owner(1)
        owner.generation = 2
        owner.claim([1])

        with pytest.raises(Fenced):
            scene.owner(1, vouched=False)

    def test_an_emptied_ledger_is_lost_and_not_another_owners(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        scene.client.delete(*keys_of(scene.base))

        for call in every_call(owner):
            with pytest.raises(Fenced) as caught:
                call()
            assert caught.value.lost
        assert scene.held().claims == {}

    def test_a_ledger_that_nobody_touches_expires(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.owner(2)

        assert all(scene.client.ttl(key) > 0 for key in keys_of(scene.base)[:2])


def every_call(owner: Any) -> list[Any]:
    return [
        lambda: owner.claim([1]),
        lambda: looked(owner),
        lambda: owner.settle([1]),
        lambda: owner.conclude({1: b""}),
        lambda: owner.forget(NOTHING),
        owner.audit,
    ]


class TestClaiming:
    def test_a_new_event_is_claimed_as_number_one(self, scene: LedgerScene) -> None:
        assert scene.owner().claim([4, 9]) == {}
        assert scene.held().claims == {4: Past(1, 0), 9: Past(1, 0)}

    def test_what_is_adopted_has_the_tag_of_its_owner_and_stays_as_it_was(self, scene: LedgerScene) -> None:
        scene.owner(1, tag="first").claim([1, 2])
        scene.run("r", tag="first").begin([(1, 1), (2, 1)])
        died(scene.run("r"), (2, 1))
        before = scene.held()
        scene.owner(2, tag="second").claim([1, 2, 3])

        held = scene.held()
        assert held.tags == {1: "second", 2: "second", 3: "second"}
        assert held.claims == {**before.claims, 3: Past(1)}
        assert (held.leases, held.due) == (before.leases, before.due)

    @pytest.mark.parametrize("how", ["died", "refused"])
    def test_what_is_to_run_again_keeps_its_tag(self, scene: LedgerScene, how: str) -> None:
        owner = scene.owner(tag="tag")
        owner.claim([1])
        run = scene.run(tag="tag")
        run.begin([(1, 1)])
        if how == "died":
            died(run, (1, 1))
        else:
            report(run, (1, 1))
            owner.refuse({1: Past()})

        assert (scene.held().claims[1].d, scene.held().tags) == (2, {1: "tag"})
        assert scene.run(tag="tag").begin([(1, 2)]) == {1}

    def test_claim_refuses_what_is_claimed_has_an_outcome_or_a_mark(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3, 4])
        scene.run("r1").begin([(1, 1)])
        for offset in (2, 3):
            scene.run("r2").begin([(offset, 1)])
            report(scene.run("r2"), (offset, 1))
        owner.settle([3])

        assert owner.claim([1, 2, 3, 4, 5]) == {
            1: Claimed(1, "claimed", Past(1, 0), leased=True),
            2: Claimed(2, "outcome"),
            3: Claimed(3, "finished"),
            4: Claimed(4, "claimed", Past(1, 0), leased=False),
        }

    def test_claim_tells_dispatch_number_and_deaths_of_what_is_to_run_again_now(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        died(scene.run(), (1, 1))

        assert owner.claim([1]) == {1: Claimed(1, "claimed", Past(2, 1), leased=False)}

    def test_claim_tells_how_long_it_is_until_a_retry_is_due(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        retry(scene.run(), (1, 1), seconds=60.0)
        known = owner.claim([1])[1]

        assert (known.state, known.past.d, known.leased) == ("claimed", 2, False)
        assert 55_000 < known.due_in_ms <= 60_000

    def test_thousands_are_claimed_in_several_calls(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim(range(2500))

        assert len(owner.claim(range(3000))) == 2500
