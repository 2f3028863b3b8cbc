"""The ledger's rules from a reported outcome to the commit that covers it, one by one, on real servers."""

from __future__ import annotations

from kaufmann_celery.ledger import FIRST, Past
from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.integration.ledger_scene import NOTHING, LedgerScene, looked, report


class TestSettling:
    def test_what_has_many_fields_is_a_table_for_redis_and_holds_nothing_else(self, scene: LedgerScene) -> None:
        """Redis looks through up to 512 fields one by one where all are short."""
        _, claims, leases, _, _, marks, *_ = keys_of(scene.base)

        def encoding(key: str) -> str:
            return str(scene.client.object("ENCODING", key).decode())

        scene.owner().claim(range(60))
        assert encoding(claims) != "hashtable"
        scene.owner().claim(range(60, 100))
        events = [(offset, 1) for offset in range(100)]
        scene.run().begin(events)
        assert (encoding(claims), encoding(leases)) == ("hashtable", "hashtable")
        assert set(scene.held().claims) == set(scene.held().leases) == set(range(100))

        report(scene.run(), *events, outcome=b"")
        assert encoding(marks) == "skiplist"
        assert (scene.held().claims, scene.held().leases, scene.held().marks) == ({}, {}, set(range(100)))

    def test_a_turn_returns_outcomes_in_the_order_of_the_partition(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        offsets = [100, 9, 20, 3]
        owner.claim(offsets)
        scene.run().begin([(offset, 1) for offset in offsets])
        report(scene.run(), *((offset, 1) for offset in offsets))

        assert list(looked(owner).outcomes) == [3, 9, 20, 100]
        assert list(owner.turn(may_expire=False, max_bytes=10**6, limit=2).outcomes) == [3, 9]
        assert list(owner.turn(may_expire=False, max_bytes=4, limit=1000).outcomes) == [3, 9]

    def test_a_run_settles_what_asks_for_nothing_and_the_owner_hears_of_it_once(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim([1, 2, 3])
        scene.run().begin([(1, 1), (2, 1), (3, 1)])
        report(scene.run(), (3, 1), outcome=b"", last=False)
        report(scene.run(), (1, 1), outcome=b"", last=False)
        report(scene.run(), (2, 1))
        assert (scene.held().claims, scene.held().outcomes, scene.held().marks) == ({}, {2: b"out"}, {1, 3})
        turn = looked(owner)

        assert (sorted(turn.settled), turn.outcomes) == ([1, 3], {2: b"out"})
        # Had that answer been lost, or another owner asked since:
        assert {offset: known.state for offset, known in owner.claim([1, 2, 3]).items()} == {
            1: "finished", 2: "outcome", 3: "finished"
        }  # fmt: skip
        assert looked(owner).settled == []

    def test_a_run_that_reports_again_what_is_settled_is_not_refused(self, scene: LedgerScene) -> None:
        scene.owner().claim([1])
        scene.run().begin([(1, 1)])

        assert report(scene.run(), (1, 1), outcome=b"") == set()
        assert report(scene.run(), (1, 1), outcome=b"") == set()
        assert report(scene.run(), (1, 1), outcome=b"other") == {1}

    def test_who_takes_over_hears_by_the_marks_and_not_again(self, scene: LedgerScene) -> None:
        scene.owner(1).claim([1, 2])
        scene.run().begin([(1, 1)])
        report(scene.run(), (1, 1), outcome=b"")
        owner = scene.unowned(2)

        assert owner.own(NOTHING, wake="wake", question="of 2") == ({2}, set(), {1})
        assert looked(owner).settled == []

    def test_a_turn_tells_whether_more_wait_than_it_takes(self, scene: LedgerScene) -> None:
        owner = scene.owner()
        owner.claim(range(120))
        scene.run().begin([(offset, 1) for offset in range(120)])
        report(scene.run(), *((offset, 1) for offset in range(110)), outcome=b"", last=False)
        report(scene.run(), *((offset, 1) for offset in range(110, 120)))

        turn = owner.turn(may_expire=False, max_bytes=10**6, limit=7)
        assert (turn.settled, [*turn.outcomes], turn.more) == ([*range(110)], [*range(110, 117)], True)
        turn = owner.turn(may_expire=False, max_bytes=4, limit=1000)
        assert (turn.settled, [*turn.outcomes], turn.more) == ([], [110, 111], True)
        assert [*looked(owner).outcomes] == [*range(110, 120)]
        assert not looked(owner).more

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
        assert scene.run().renew([(1, 1)], 1) == set()
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

    def test_an_event_whose_outputs_are_refused_is_claimed_again_and_every_owner_hears_why(
        self, scene: LedgerScene
    ) -> None:
        owner = scene.owner()
        owner.claim([1, 2])
        scene.run().begin([(1, 1), (2, 1)])
        report(scene.run(), (1, 1), (2, 1))
        owner.settle([2])
        owner.refuse({1: FIRST, 2: FIRST})

        assert [(one.offset, one.past, one.reason) for one in looked(owner).raised] == [(1, Past(2), "refused")]
        assert (scene.held().claims, scene.held().outcomes, scene.held().marks) == ({1: Past(2)}, {}, {2})
        heard = scene.owner(2).claim([1])[1].raised
        assert heard is not None
        assert heard.reason == "refused"

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
