"""The ledger's rules where something is lost: a worker, an answer, Redis' data, Redis itself. On real servers."""

from __future__ import annotations

import pytest

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import LedgerConnection, connect
from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.integration.ledger_scene import LedgerScene, died, looked, report, retry
from tests.integration.service_process import eventually


class TestExpiring:
    def test_expire_raises_d_and_counts_the_death_of_what_ran_alone(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3])
        scene.run("alone").begin([(1, 1)])
        scene.run("company").begin([(2, 1), (3, 1)])
        scene.let_expire("alone")
        scene.let_expire("company")
        raised = looked(owner, may_expire=True).raised

        assert [(one.offset, one.past.d, one.past.deaths, one.reason) for one in raised] == [
            (1, 2, 1, "expired"), (2, 2, 0, "expired"), (3, 2, 0, "expired")
        ]  # fmt: skip
        assert scene.held().leases == {}
        assert scene.held().runs == {}

    def test_a_lease_expires_by_redis_clock(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run(lease=0.05).begin([(1, 1)])

        eventually(lambda: bool(looked(owner, may_expire=True).raised), "the lease expires", 10.0)

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

        assert [(one.past.d, one.past.deaths) for one in looked(owner, may_expire=True).raised] == [(2, 0)]

    def test_a_lease_whose_claim_redis_evicted_is_dropped(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        scene.run().begin([(1, 1)])
        scene.client.delete(keys_of(scene.base)[1])
        scene.let_expire("run")

        assert looked(owner, may_expire=True).raised == ()
        assert scene.held().leases == {}


class TestTasksOfBefore:
    """A broker of its own keeps its messages when the ledger's Redis loses its data."""

    def test_what_was_sent_before_redis_was_emptied_begins_nothing(self, scene: LedgerScene) -> None:
        """The second of a lane was sent, for the first was settled; now both are claimed anew."""
        scene.owner(1, tag="first").claim([2])
        scene.client.delete(*keys_of(scene.base))
        scene.owner(1, tag="second").claim([1, 2])

        assert scene.run("of before", tag="first").begin([(2, 1)]) == set()
        assert scene.run(tag="second").begin([(1, 1), (2, 1)]) == {1, 2}

    def test_who_runs_still_goes_on_with_what_is_claimed_anew(self, scene: LedgerScene) -> None:
        scene.owner(1, tag="first").claim([1])
        run = scene.run(tag="first")
        run.begin([(1, 1)])
        scene.client.delete(*keys_of(scene.base))
        scene.owner(1, tag="second").claim([1])

        assert run.renew([(1, 1)], 1) == {1}
        assert scene.run("copy", tag="second").begin([(1, 1)]) == set()
        assert report(run, (1, 1)) == set()


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

        assert [one.past.d for one in looked(owner).raised] == [2]

    def test_what_was_heard_of_takes_nothing_later_off_the_ledger(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1])
        for d in (1, 2):
            scene.run().begin([(1, d)])
            died(scene.run(), (1, d))
            assert [one.past.d for one in looked(owner).raised] == [d + 1]

    def test_the_next_owner_hears_why_once_it_has_the_record(self, scene: LedgerScene) -> None:
        scene.owner(1).claim([1])
        scene.run().release([(1, 1)], reason="revoked", at_fault=False, text="")
        owner = scene.owner(2)

        assert looked(owner).raised == ()
        known = owner.claim([1])[1]
        assert known.raised is not None
        assert known.raised.reason == "revoked"
        assert looked(owner).raised == ()

    @pytest.mark.parametrize(("reason", "owners"), [("revoked", 3), ("time_limit", 3), ("died", 2)])
    def test_why_an_event_may_have_failed_for_good_is_told_every_owner_until_it_is_concluded(
        self, scene: LedgerScene, reason: str, owners: int
    ) -> None:
        scene.owner(1).claim([1])
        scene.run().release([(1, 1)], reason=reason, at_fault=False, text="")
        heard = []
        for generation in (2, 3):
            owner = scene.owner(generation)
            heard.append(owner.claim([1])[1].raised)
            looked(owner)

        assert [one.reason for one in heard if one] == [reason] * (owners - 1)
        owner.conclude({1: b"failed"})
        assert scene.held().raised == {}

    def test_what_runs_again_is_not_told_any_more(self, scene: LedgerScene) -> None:
        scene.owner(1).claim([1])
        scene.run().begin([(1, 1)])
        retry(scene.run(), (1, 1))
        scene.run("second").begin([(1, 2)])
        owner = scene.owner(2)
        owner.claim([1])

        assert looked(owner).raised == ()
        assert scene.held().due == set()


class TestAbandoned:
    def test_nothing_that_was_made_since_the_last_commit_lives_for_ever(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3, 4, 6])
        begins = scene.run()
        begins.begin([(1, 1), (2, 1), (3, 1), (6, 1)])
        report(begins, (1, 1), last=False)
        report(begins, (6, 1), outcome=b"", last=False)
        retry(begins, (2, 1))
        scene.run("goes on").begin([(4, 1)])
        owner.claim([5])
        owner.settle([5])

        held = scene.held()
        assert held.claims
        assert held.leases
        assert held.runs
        assert held.outcomes
        assert held.marks
        assert held.due
        assert held.raised
        assert [scene.client.ttl(key) > 0 for key in keys_of(scene.base)] == [True] * 9


class TestRedisInTrouble:
    """Each of these says that Redis is away, so that everyone waits; nothing is done by half."""

    def test_replicas_that_are_missing_are_waited_for(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        scene.configure("min-replicas-to-write", 1)
        try:
            with pytest.raises(UnavailableError, match="NOREPLICAS"):
                owner.claim([1])
        finally:
            scene.configure("min-replicas-to-write", 0)
        assert owner.claim([1]) == {}

    def test_a_redis_that_is_full_still_hands_out_and_settles_outcomes(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        scene.run().begin([(1, 1)])
        report(scene.run(), (1, 1))
        scene.configure("maxmemory", 1)
        try:
            with pytest.raises(UnavailableError):
                owner.claim([3])
            assert looked(owner, may_expire=True).outcomes == {1: b"out"}
            owner.settle([1])
        finally:
            scene.configure("maxmemory", 0)
        assert scene.held().marks == {1}

    def test_a_redis_that_is_full_still_hands_a_ledger_over(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.configure("maxmemory", 1)
        try:
            scene.owner(2, "n")
            scene.owner(1, "o", committed=Committed(0, -1, (), "another"))
        finally:
            scene.configure("maxmemory", 0)
        assert scene.held().owner == ("another", "1", "o")

    def test_a_server_that_forgot_the_scripts_is_told_them_again(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        scene.client.script_flush()
        assert owner.claim([1]) == {}
        scene.client.script_flush()
        calls = [(keys_of(scene.base), [1, "m", "history"])] * 3
        assert [answer[1] for answer in scene.connection.run_many("audit", calls)] == [[b"1"]] * 3


def test_a_unix_socket_leads_to_the_ledger_too(connection: LedgerConnection) -> None:
    path = connection.client.config_get("unixsocket")["unixsocket"]
    if not path:
        pytest.skip("this server listens on no unix socket")
    other = connect(f"redis+socket://{path}")
    try:
        LedgerScene(other).owner().claim([1])
    finally:
        other.close()
