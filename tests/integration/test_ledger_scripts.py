"""The ledger's rules, one by one, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from kaufmann_celery.commit_metadata import Committed
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import Claimed, Fenced, LedgerConnection, Raised, connect
from kaufmann_celery.ledger.address import keys_of
from tests.integration.ledger_scene import NOTHING, LedgerScene, died, looked, report, retry
from tests.integration.redis_servers import SERVERS, connected, running, until


@pytest.fixture(scope="module", params=SERVERS)
def connection(request: pytest.FixtureRequest) -> Iterator[LedgerConnection]:
    with running(request.param) as url, connected(url) as one:
        yield one


@pytest.fixture
def scene(connection: LedgerConnection) -> LedgerScene:
    return LedgerScene(connection)


class TestOwning:
    def test_an_empty_ledger_takes_the_incarnation_of_the_commit(self, scene: LedgerScene) -> None:
        assert scene.owner(committed=NOTHING).incarnation == "history"

    def test_where_neither_has_an_incarnation_it_is_the_fresh_one(self, scene: LedgerScene) -> None:
        assert scene.owner(committed=Committed(0, -1)).incarnation == "fresh"

    @pytest.mark.parametrize("incarnation", ["other", None])
    def test_metadata_of_another_incarnation_discards_the_ledger(
        self, scene: LedgerScene, incarnation: str | None
    ) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])
        taken = scene.owner(2, committed=Committed(0, -1, (), incarnation))

        assert taken.incarnation == (incarnation or "fresh")
        held = scene.held()
        assert (held.claims, held.leases, held.runs) == ({}, {}, {})

    def test_a_group_that_was_deleted_starts_again_at_a_low_generation(self, scene: LedgerScene) -> None:
        scene.owner(50).claim([1])

        assert scene.owner(1, committed=Committed(0, -1)).incarnation == "fresh"

    def test_what_is_left_of_a_ledger_whose_owner_has_expired_is_another_history(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.client.delete(keys_of(scene.base)[0])

        assert scene.unowned().own(NOTHING, wake="wake", fresh="fresh") == (set(), set(), set())
        assert scene.held().claims == {}

    def test_own_returns_what_is_claimed_reported_and_marked(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3])
        scene.run().begin([(2, 1), (3, 1)])
        report(scene.run(), (2, 1), (3, 1))
        owner.settle([3])

        assert scene.unowned(2).own(NOTHING, wake="wake", fresh="fresh") == ({1}, {2}, {3})

    def test_own_drops_what_the_commit_holds(self, scene: LedgerScene) -> None:
        """The commit landed and the ingester died before the ledger heard of it."""
        owner = scene.owner()
        owner.claim(range(8))
        run = scene.run()
        run.begin([(offset, 1) for offset in range(8)])
        report(run, (1, 1), (4, 1), last=False)
        died(scene.run("other"), (7, 1))
        owner.settle([1])
        taken = scene.unowned(2).own(Committed(3, 6, (3, 5), "history"), wake="wake", fresh="fresh")

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
            scene.unowned(1).own(NOTHING, wake="wake", fresh="fresh")

    def test_another_member_of_the_same_generation_is_refused(self, scene: LedgerScene) -> None:
        scene.owner(1, "m")
        other = scene.unowned(1, "n")
        other.incarnation = "history"

        with pytest.raises(Fenced):
            other.claim([1])
        with pytest.raises(Fenced):
            scene.owner(1, "n")

    def test_a_higher_generation_takes_over_without_owning_anew(self, scene: LedgerScene) -> None:
        owner = scene.owner(1)
        owner.generation = 2
        owner.claim([1])

        with pytest.raises(Fenced):
            scene.owner(1)

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
        assert scene.held().claims == {4: (1, 0), 9: (1, 0)}

    def test_claim_refuses_what_is_claimed_has_an_outcome_or_a_mark(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3, 4])
        scene.run("r1").begin([(1, 1)])
        for offset in (2, 3):
            scene.run("r2").begin([(offset, 1)])
            report(scene.run("r2"), (offset, 1))
        owner.settle([3])

        assert owner.claim([1, 2, 3, 4, 5]) == {
            1: Claimed(1, "claimed", 1, 0, leased=True, due_ms=0),
            2: Claimed(2, "outcome", 0, 0, leased=False, due_ms=0),
            3: Claimed(3, "finished", 0, 0, leased=False, due_ms=0),
            4: Claimed(4, "claimed", 1, 0, leased=False, due_ms=0),
        }

    def test_claim_tells_dispatch_number_deaths_and_due_time_of_what_is_to_run_again(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        died(scene.run(), (1, 1))
        known = owner.claim([1])[1]

        assert (known.state, known.d, known.deaths, known.leased) == ("claimed", 2, 1, False)
        assert 0 < known.due_ms <= looked(owner).now_ms

    def test_thousands_are_claimed_in_several_calls(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim(range(2500))

        assert len(owner.claim(range(3000))) == 2500


class TestRunning:
    def test_begin_refuses_a_dispatch_number_that_is_not_the_claims(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])

        assert scene.run().begin([(1, 2), (9, 1)]) == set()
        assert scene.run().begin([(1, 1)]) == {1}

    def test_begin_refuses_what_runs_whoever_runs_it(self, scene: LedgerScene) -> None:
        """A copy of a task has its id, and may reach another thread of the same process."""
        scene.owner().claim([1])
        scene.run("a").begin([(1, 1)])

        assert scene.run("b").begin([(1, 1)]) == set()
        assert scene.run("a").begin([(1, 1)]) == set()

    def test_begin_made_again_because_its_answer_was_lost_accepts_the_same(self, scene: LedgerScene) -> None:
        scene.owner().claim([1, 2])
        run = scene.run()

        assert run.begin([(1, 1), (2, 1)]) == {1, 2}
        assert run.begin([(1, 1), (2, 1)]) == {1, 2}
        assert scene.held().runs == {"run": 2}

    def test_begin_of_another_incarnation_is_refused(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])

        assert scene.run(incarnation="other").begin([(1, 1)]) == set()

    def test_begin_of_what_is_finished_is_refused(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run("a").begin([(1, 1)])
        report(scene.run("a"), (1, 1))
        assert scene.run("b").begin([(1, 1)]) == set()
        owner.settle([1])
        assert scene.run("b").begin([(1, 1)]) == set()

    def test_a_missing_lease_is_put_back_by_renew_where_nobody_holds_one(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        scene.lose_leases_of("run")

        assert run.renew([(1, 1)], 1) == 1
        assert scene.held().leases == {1: "run"}
        assert scene.run("copy").begin([(1, 1)]) == set()

    def test_renew_puts_no_lease_back_that_another_run_holds(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        scene.lose_leases_of("run")
        scene.run("other").begin([(1, 1)])

        assert run.renew([(1, 1)], 1) == 0
        assert scene.held().leases == {1: "other"}

    def test_renew_puts_no_lease_back_once_the_dispatch_number_was_raised(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        scene.let_expire("run")
        looked(owner, may_expire=True)

        assert run.renew([(1, 1)], 1) == 0
        assert scene.held().runs == {}

    def test_renew_prolongs_by_one_lease_from_now(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        run = scene.run(lease=30.0)
        run.begin([(1, 1)])
        scene.let_expire("run")
        run.renew([(1, 1)], 1)

        assert 25_000 < scene.expires_in_ms("run") <= 30_000


class TestFinishing:
    def test_an_outcome_takes_the_place_of_claim_and_lease(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])

        assert report(scene.run(), (1, 1), outcome=b"\x00\xff") == set()
        held = scene.held()
        assert (held.claims, held.leases, held.runs, held.outcomes) == ({}, {}, {}, {1: b"\x00\xff"})

    def test_a_task_reports_as_it_goes(self, scene: LedgerScene) -> None:
        scene.owner().claim([1, 2])
        run = scene.run()
        run.begin([(1, 1), (2, 1)])
        report(run, (1, 1), last=False)

        assert scene.held().leases == {2: "run"}
        assert scene.held().runs == {"run": 2}

    def test_finish_by_another_run_is_refused(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])

        assert report(scene.run("other"), (1, 1)) == {1}
        assert scene.held().leases == {1: "run"}

    def test_finish_of_a_stopped_worker_whose_event_goes_again_is_refused(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run("stopped").begin([(1, 1)])
        scene.let_expire("stopped")
        looked(owner, may_expire=True)

        assert report(scene.run("stopped"), (1, 1)) == {1}
        assert scene.run("second").begin([(1, 2)]) == {1}
        assert report(scene.run("stopped"), (1, 1)) == {1}

    def test_finish_by_the_run_whose_lease_was_lost_is_accepted(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])
        scene.lose_leases_of("run")

        assert report(scene.run(), (1, 1)) == set()

    def test_finish_of_another_incarnation_is_refused(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])

        assert report(scene.run(incarnation="other"), (1, 1)) == {1}
        assert scene.held().outcomes == {}

    def test_finish_made_again_because_its_answer_was_lost_is_not_refused(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])
        report(scene.run(), (1, 1))

        assert report(scene.run(), (1, 1)) == set()
        assert report(scene.run("other"), (1, 1), outcome=b"else") == {1}

    def test_a_retry_raises_d_and_says_when(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        retry(scene.run(), (1, 1), seconds=60.0)
        turn = looked(owner)

        assert [(one.offset, one.d, one.deaths, one.reason) for one in turn.raised] == [(1, 2, 0, "retry")]
        assert 55_000 < turn.raised[0].due_ms - turn.now_ms <= 60_000

    def test_a_report_wakes_the_owner(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])
        with scene.client.pubsub() as listener:
            listener.subscribe("wake")
            listener.get_message(timeout=5.0)
            report(scene.run(), (1, 1))
            assert listener.get_message(timeout=5.0)["data"] == b"text"


class TestDeaths:
    def test_a_death_alone_counts_one(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])

        assert died(scene.run(), (1, 1)) == 1
        assert looked(owner).raised == (Raised(1, 2, 1, scene_due(owner), "died"),)

    def test_a_death_in_company_counts_for_nobody(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        scene.run().begin([(1, 1), (2, 1)])

        assert died(scene.run(), (1, 1), (2, 1)) == 2
        assert [(one.d, one.deaths) for one in looked(owner).raised] == [(2, 0), (2, 0)]

    def test_the_last_of_a_task_did_not_die_alone(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        run = scene.run()
        run.begin([(1, 1), (2, 1)])
        report(run, (1, 1), last=False)
        run.renew([(2, 1)], 2)
        died(run, (1, 1), (2, 1))

        assert [(one.offset, one.deaths) for one in looked(owner).raised] == [(2, 0)]

    def test_a_death_by_deploy_counts_for_nobody(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        died(scene.run(), (1, 1), at_fault=False)

        assert looked(owner).raised[0].deaths == 0

    def test_a_task_that_was_revoked_before_it_ran_is_released_and_counts_for_nobody(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().release([(1, 1)], reason="revoked", at_fault=True, text="")

        assert [(one.d, one.deaths, one.reason) for one in looked(owner).raised] == [(2, 0, "revoked")]

    def test_release_by_another_run_or_of_another_number_changes_nothing(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])

        assert died(scene.run("other"), (1, 1)) == 0
        assert died(scene.run(), (1, 2)) == 0
        assert died(scene.run(incarnation="other"), (1, 1)) == 0

    def test_a_death_told_twice_counts_once(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])
        died(scene.run(), (1, 1))

        assert died(scene.run(), (1, 1)) == 0
        assert scene.held().claims == {1: (2, 1)}


class TestExpiring:
    def test_expire_raises_d_and_counts_the_death_of_what_ran_alone(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3])
        scene.run("alone").begin([(1, 1)])
        scene.run("company").begin([(2, 1), (3, 1)])
        scene.let_expire("alone")
        scene.let_expire("company")
        raised = looked(owner, may_expire=True).raised

        assert [(one.offset, one.d, one.deaths, one.reason) for one in raised] == [
            (1, 2, 1, "expired"), (2, 2, 0, "expired"), (3, 2, 0, "expired")
        ]  # fmt: skip
        assert scene.held().leases == {}
        assert scene.held().runs == {}

    def test_a_lease_expires_by_redis_clock(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run(lease=0.05).begin([(1, 1)])

        until(lambda: bool(looked(owner, may_expire=True).raised), "the lease did not expire")

    def test_an_owner_that_may_not_expire_does_not(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        scene.let_expire("run")

        assert looked(owner, may_expire=False).raised == ()
        assert scene.held().leases == {1: "run"}

    def test_after_nobody_looked_for_longer_than_a_lease_each_run_has_one_lease_more(self, scene: LedgerScene) -> None:
        """Redis was away with all its data kept, or its clock jumped ahead: nobody could renew."""
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        looked(owner)
        scene.let_expire("run")
        scene.nobody_looked_for(10_500)

        assert looked(owner, may_expire=True).raised == ()
        assert 5_000 < scene.expires_in_ms("run") <= 10_000

    def test_it_has_one_lease_more_only_once_until_it_renews(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        looked(owner)
        for _ in range(2):
            scene.let_expire("run")
            scene.nobody_looked_for(10_500)
            raised = looked(owner, may_expire=True).raised
        assert [one.reason for one in raised] == ["expired"]

    def test_no_lease_is_longer_than_from_now(self, scene: LedgerScene) -> None:
        """The clock of Redis went back."""
        owner = scene.owner()
        owner.claim([1])
        scene.run(lease=10.0).begin([(1, 1)])
        runs = keys_of(scene.base)[3]
        entry = scene.client.hget(runs, "run").decode().split()
        scene.client.hset(runs, "run", " ".join([str(int(entry[0]) + 3_600_000), *entry[1:]]))
        looked(owner, may_expire=True)

        assert scene.expires_in_ms("run") <= 10_000

    def test_a_lease_whose_run_redis_forgot_ends_too(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        looked(owner)
        scene.client.hdel(keys_of(scene.base)[3], "run")
        scene.nobody_looked_for(1000)
        looked(owner, may_expire=True)
        assert scene.held().runs == {"run": 0}
        scene.let_expire("run")

        assert [(one.d, one.deaths) for one in looked(owner, may_expire=True).raised] == [(2, 0)]

    def test_a_lease_whose_claim_redis_evicted_is_dropped(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        scene.client.delete(keys_of(scene.base)[1])
        scene.let_expire("run")

        assert looked(owner, may_expire=True).raised == ()
        assert scene.held().leases == {}


class TestRaised:
    def test_what_was_raised_is_told_once(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        died(scene.run(), (1, 1))

        assert len(looked(owner).raised) == 1
        assert looked(owner).raised == ()

    def test_what_was_raised_is_told_again_where_the_answer_was_lost(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        died(scene.run(), (1, 1))
        scene.connection.run("turn", keys_of(scene.base), [1, "m", "history", 0, 1000, 10])

        assert [one.d for one in looked(owner).raised] == [2]

    def test_what_was_heard_of_takes_nothing_later_off_the_ledger(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        for d in (1, 2):
            scene.run().begin([(1, d)])
            died(scene.run(), (1, d))
            assert [one.d for one in looked(owner).raised] == [d + 1]

    def test_the_next_owner_hears_why_once_it_has_the_record(self, scene: LedgerScene) -> None:
        scene.owner(1).claim([1])
        scene.run().release([(1, 1)], reason="revoked", at_fault=False, text="")
        owner = scene.owner(2)

        assert looked(owner).raised == ()
        owner.claim([1])
        assert [one.reason for one in looked(owner).raised] == ["revoked"]
        assert looked(owner).raised == ()

    def test_what_runs_again_is_not_told_any_more(self, scene: LedgerScene) -> None:
        scene.owner(1).claim([1])
        scene.run().begin([(1, 1)])
        retry(scene.run(), (1, 1))
        scene.run("second").begin([(1, 2)])
        owner = scene.owner(2)
        owner.claim([1])

        assert looked(owner).raised == ()
        assert scene.held().due == set()


class TestSettling:
    def test_a_turn_returns_outcomes_in_the_order_of_the_partition(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        offsets = [100, 9, 20, 3]
        owner.claim(offsets)
        scene.run().begin([(offset, 1) for offset in offsets])
        report(scene.run(), *((offset, 1) for offset in offsets))

        assert list(looked(owner).outcomes) == [3, 9, 20, 100]
        assert list(owner.turn(may_expire=False, max_bytes=10**6, limit=2).outcomes) == [3, 9]
        assert list(owner.turn(may_expire=False, max_bytes=4, limit=1000).outcomes) == [3, 9]

    def test_settling_leaves_a_mark(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        report(scene.run(), (1, 1))
        owner.settle([1])
        owner.settle([1])

        assert (scene.held().outcomes, scene.held().marks) == ({}, {1})

    def test_settling_drops_what_a_ledger_that_lost_its_tail_brought_back(self, scene: LedgerScene) -> None:
        """The outcome was read and published; then the ledger went back to when the event still ran."""
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        owner.settle([1])

        held = scene.held()
        assert (held.claims, held.leases, held.marks) == ({}, {}, {1})
        assert scene.run().renew([(1, 1)], 1) == 0
        assert report(scene.run(), (1, 1)) == {1}

    def test_marks_go_only_when_a_commit_covers_them(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.settle([1, 5, 6, 7, 8, 20])
        owner.forget(Committed(5, 7, (6,), "history"))

        assert scene.held().marks == {6, 8, 20}

    def test_an_offset_of_many_digits_is_forgotten_like_another(self, scene: LedgerScene) -> None:
        owner, far = scene.owner(), 10**15 + 7
        owner.settle([far - 1, far])
        owner.forget(Committed(far, far - 1, (), "history"))

        assert scene.held().marks == {far}

    def test_conclude_says_what_became_of_an_event_that_no_worker_runs(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])

        assert owner.conclude({1: b"failed"}) == set()
        assert (scene.held().claims, looked(owner).outcomes) == ({}, {1: b"failed"})
        assert owner.conclude({1: b"cut"}) == set()
        assert looked(owner).outcomes == {1: b"cut"}

    def test_conclude_refuses_what_runs_and_what_is_finished(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        owner.settle([2])

        assert owner.conclude({1: b"", 2: b""}) == {1, 2}
        assert scene.held().outcomes == {}

    def test_the_audit_returns_what_the_ledger_holds(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3])
        scene.run().begin([(2, 1), (3, 1)])
        report(scene.run(), (3, 1))
        owner.settle([4])

        assert owner.audit() == ({1, 2}, {2}, {3}, {4})


class TestRedisInTrouble:
    """Each of these says that Redis is away, so that everyone waits; nothing is done by half."""

    def test_replicas_that_are_missing_are_waited_for(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        scene.client.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(UnavailableError, match="NOREPLICAS"):
                owner.claim([1])
        finally:
            scene.client.config_set("min-replicas-to-write", 0)
        assert owner.claim([1]) == {}

    def test_a_redis_that_is_full_still_hands_out_and_settles_outcomes(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        scene.run().begin([(1, 1)])
        report(scene.run(), (1, 1))
        scene.client.config_set("maxmemory", 1)
        try:
            with pytest.raises(UnavailableError):
                owner.claim([3])
            assert looked(owner, may_expire=True).outcomes == {1: b"out"}
            owner.settle([1])
        finally:
            scene.client.config_set("maxmemory", 0)
        assert scene.held().marks == {1}

    def test_a_server_that_forgot_the_scripts_is_told_them_again(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        scene.client.script_flush()
        assert owner.claim([1]) == {}
        scene.client.script_flush()
        calls = [(keys_of(scene.base), [1, "m", "history"])] * 3
        assert [answer[1] for answer in scene.connection.run_many("audit", calls)] == [[b"1"]] * 3


def scene_due(owner: Any) -> int:
    return int(next(iter(owner.claim([1]).values())).due_ms)


def test_a_unix_socket_leads_to_the_ledger_too(connection: LedgerConnection) -> None:
    path = connection.client.config_get("unixsocket")["unixsocket"]
    if not path:
        pytest.skip("this server listens on no unix socket")
    other = connect(f"redis+socket://{path}")
    try:
        LedgerScene(other).owner().claim([1])
    finally:
        other.close()
