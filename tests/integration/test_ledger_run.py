"""The ledger's rules for a worker's runs, one by one, on real servers."""

from __future__ import annotations

import pytest

from kaufmann_celery.ledger import Past, Raised, Report
from tests.integration.ledger_scene import LedgerScene, died, looked, report, retry


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

    def test_begin_refuses_what_another_than_the_claims_owner_sent(self, scene: LedgerScene) -> None:
        scene.owner(1, tag="first").claim([1])
        scene.owner(2, tag="second")
        assert scene.run(tag="second").begin([(1, 1)]) == set()
        assert scene.run("sent before", tag="first").begin([(1, 1)]) == {1}

    def test_begin_refuses_what_a_predecessor_sent_once_its_claim_is_adopted(self, scene: LedgerScene) -> None:
        scene.owner(1, tag="first").claim([1])
        scene.owner(2, tag="second").claim([1])

        assert scene.run(tag="first").begin([(1, 1)]) == set()
        assert scene.run(tag="second").begin([(1, 1)]) == {1}

    def test_begin_made_again_accepts_the_same_though_the_claim_was_adopted_meanwhile(self, scene: LedgerScene) -> None:
        scene.owner(1, tag="first").claim([1])
        run = scene.run(tag="first")
        run.begin([(1, 1)])
        scene.owner(2, tag="second").claim([1])

        assert run.begin([(1, 1)]) == {1}
        assert run.renew([(1, 1)], 1) == {1}
        assert report(run, (1, 1)) == set()

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

    def test_what_was_held_back_goes_again_at_once_and_counts_as_no_attempt(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        run.finish([Report(1, 1, held=True)], last=True, text="")

        (raised,) = looked(owner).raised
        assert (raised.reason, raised.past, raised.past.attempt) == ("held", Past(2, idle=1), 1)
        assert scene.held().leases == {}

    def test_a_missing_lease_is_put_back_by_renew_where_nobody_holds_one(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        scene.lose_leases_of("run")

        assert run.renew([(1, 1)], 1) == {1}
        assert scene.held().leases == {1: "run"}
        assert scene.run("copy").begin([(1, 1)]) == set()

    def test_renew_puts_no_lease_back_that_another_run_holds(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        scene.lose_leases_of("run")
        scene.run("other").begin([(1, 1)])

        assert run.renew([(1, 1)], 1) == set()
        assert scene.held().leases == {1: "other"}

    def test_renew_puts_no_lease_back_once_the_dispatch_number_was_raised(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        scene.let_expire("run")
        looked(owner, may_expire=True)

        assert run.renew([(1, 1)], 1) == set()
        assert scene.held().runs == {}

    def test_renew_of_another_incarnation_puts_nothing_back(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])

        assert scene.run(incarnation="other").renew([(1, 1)], 1) == set()
        assert scene.held().leases == {}

    def test_renew_prolongs_by_one_lease_from_now(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        run = scene.run(lease=30.0)
        run.begin([(1, 1)])
        scene.let_expire("run")
        run.renew([(1, 1)], 1)

        assert 25_000 < scene.expires_in_ms("run") <= 30_000


class TestVouching:
    def test_who_is_vouched_for_has_one_lease_from_now(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        run = scene.run(lease=30.0)
        run.begin([(1, 1), (2, 1)])
        scene.let_expire("run")

        assert run.vouch()
        assert 25_000 < scene.expires_in_ms("run") <= 30_000
        assert scene.held().runs == {"run": 2}
        assert looked(owner, may_expire=True).raised == ()

    def test_begin_made_again_is_accepted_still(self, scene: LedgerScene) -> None:
        """Its answer was lost, and the main process vouched meanwhile."""
        scene.owner().claim([1])
        run = scene.run()
        run.begin([(1, 1)])
        run.vouch()

        assert run.begin([(1, 1)]) == {1}

    def test_a_copy_of_the_task_in_the_same_process_is_refused_still(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])
        scene.run().vouch()

        assert scene.run().begin([(1, 1)]) == set()

    def test_what_was_reported_early_gets_no_lease_back(self, scene: LedgerScene) -> None:
        scene.owner().claim([1, 2])
        run = scene.run()
        run.begin([(1, 1), (2, 1)])
        report(run, (1, 1), last=False)

        assert run.vouch()
        assert scene.held().leases == {2: "run"}

    @pytest.mark.parametrize("end", ["reported", "died", "expired", "never begun", "lost"])
    def test_a_run_that_is_no_more_is_not_brought_back(self, scene: LedgerScene, end: str) -> None:
        owner = scene.owner()
        owner.claim([1])
        run = scene.run()
        if end != "never begun":
            run.begin([(1, 1)])
        if end == "reported":
            report(run, (1, 1))
        elif end == "died":
            died(run, (1, 1))
        elif end == "expired":
            scene.let_expire("run")
            looked(owner, may_expire=True)
        elif end == "lost":
            scene.lose_leases_of("run")

        assert not run.vouch()
        assert scene.held().leases == {}
        assert scene.held().runs == {}

    def test_a_run_of_another_incarnation_is_not_vouched_for(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])

        assert not scene.run(incarnation="other").vouch()


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

        assert [(one.offset, one.past.d, one.past.deaths, one.reason) for one in turn.raised] == [(1, 2, 0, "retry")]
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
        turn = looked(owner)
        assert turn.raised == (Raised(1, Past(2, 1), turn.raised[0].due_ms, "died"),)
        assert turn.now_ms - 10_000 < turn.raised[0].due_ms <= turn.now_ms

    def test_a_death_in_company_counts_for_nobody(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        scene.run().begin([(1, 1), (2, 1)])

        assert died(scene.run(), (1, 1), (2, 1)) == 2
        assert [(one.past.d, one.past.deaths) for one in looked(owner).raised] == [(2, 0), (2, 0)]

    def test_the_last_of_a_task_did_not_die_alone(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        run = scene.run()
        run.begin([(1, 1), (2, 1)])
        report(run, (1, 1), last=False)
        run.renew([(2, 1)], 2)
        died(run, (1, 1), (2, 1))

        assert [(one.offset, one.past.deaths) for one in looked(owner).raised] == [(2, 0)]

    def test_a_death_by_deploy_counts_for_nobody(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        died(scene.run(), (1, 1), at_fault=False)

        assert looked(owner).raised[0].past.deaths == 0

    def test_a_task_that_was_revoked_before_it_ran_is_released_and_counts_for_nobody(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().release([(1, 1)], reason="revoked", at_fault=True, text="")

        assert [(one.past.d, one.past.deaths, one.reason) for one in looked(owner).raised] == [(2, 0, "revoked")]

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
        assert scene.held().claims == {1: Past(2, 1)}
