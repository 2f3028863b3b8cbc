"""The scripts against the model: owners, zombies, runs, copies, deaths, lost tails and an emptied Redis, interleaved.

To run more than CI does: `KAUFMANN_MODEL_EXAMPLES=5000 pytest tests/integration/test_ledger_model.py`; with it set,
each time takes other examples, and shrinks what fails.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kaufmann_celery.ledger import FIRST, Fenced, LedgerConnection, OwnerLedger, Past, Report, RunLedger
from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.integration.ledger_model import Model, Refused
from tests.integration.ledger_scene import Held, LedgerScene, looked
from tests.integration.redis_servers import SERVERS, connected, running

ASKED = os.environ.get("KAUFMANN_MODEL_EXAMPLES")
#: Offsets with gaps, in two orders of magnitude: scripts compare them as numbers and keep them as text.
OFFSETS = (3, 4, 9, 10, 99, 100)

#: Else the machine would seldom get anywhere between two catastrophes.
rarely = st.integers(0, 7).map(lambda number: number == 7)
picked = st.lists(st.sampled_from(OFFSETS), min_size=1, max_size=4, unique=True)


@dataclass
class Owner:
    """An ingester, perhaps one that has not heard that it owns the partition no more."""

    ledger: OwnerLedger
    #: The commit that it read when the partition was assigned to it; what it has asked in the ledger since, and the
    #: question after which Kafka took that commit from it.
    read: Committed
    asked: str = ""
    vouched: str = ""
    #: What its last turn told it to settle, and what it heard was raised.
    found: dict[int, bytes] = field(default_factory=dict)
    heard: dict[int, tuple[Past, str]] = field(default_factory=dict)
    unread: set[int] = field(default_factory=set)
    #: What it has settled. Another owner knows it from the commit, or from the mark.
    settled: set[int] = field(default_factory=set)


@dataclass
class Run:
    """One execution of a task, perhaps of a copy, in a worker that may stop and wake at any time."""

    ledger: RunLedger
    events: list[tuple[int, int]]


class LedgerMachine(RuleBasedStateMachine):
    connection: LedgerConnection

    def __init__(self) -> None:
        super().__init__()
        self.scene = LedgerScene(self.connection)
        self.model = Model()
        self.kafka = Committed(0, -1)
        self.generation = self.ownerships = self.questions = 0
        self.owners: list[Owner] = []
        self.runs: list[Run] = []
        self.tasks: list[tuple[str, str, list[tuple[int, int]]]] = []
        self.snapshot: tuple[list[tuple[str, bytes]], Model] | None = None
        #: Redis has lost data so many times; what ran before may run again after that.
        self.losses = 0
        self.began: set[tuple[int, str, int, int]] = set()
        self.deaths: dict[tuple[int, str, int], int] = {}

    @initialize()
    def first_owner(self) -> None:
        self.rebalance()

    # Owners

    @rule(chance=rarely)
    def another_ingester_joins(self, *, chance: bool) -> None:
        if chance:
            self.rebalance()

    @rule(chance=rarely)
    def a_foreign_tool_resets_the_group(self, *, chance: bool) -> None:
        if chance:
            self.kafka = Committed(0, -1)
            self.rebalance()

    @rule(chance=rarely)
    def the_group_is_deleted_and_made_anew(self, *, chance: bool) -> None:
        """Its generations start again at 1."""
        if chance:
            self.kafka, self.generation = Committed(0, -1), 0
            self.rebalance()

    @rule(chance=rarely, steps=st.integers(0, 2))
    def an_ingester_joins_and_sleeps_before_it_owns(self, *, chance: bool, steps: int) -> None:
        """Before it asks, before Kafka answers, or between that and its own."""
        if not chance:
            return
        self.assign()
        owner = self.owners[-1]
        if steps > 0:
            self.own(owner)
        if steps > 1 and owner.ledger.incarnation == "":
            self.pin(owner)

    @precondition(lambda self: self.sleeping())
    @rule(data=st.data())
    def one_that_slept_wakes_and_owns(self, data: st.DataObject) -> None:
        self.own(data.draw(st.sampled_from(self.sleeping())))

    def sleeping(self) -> list[Owner]:
        return [owner for owner in self.owners[:-1] if not owner.ledger.incarnation]

    @precondition(lambda self: self.owners[-1].ledger.incarnation != self.model.incarnation)
    @rule()
    def the_owner_finds_its_ledger_gone(self) -> None:
        """It reads Kafka's commit again."""
        owner = self.owners[-1]
        owner.read, owner.vouched = self.kafka, ""
        self.take_over()

    def rebalance(self) -> None:
        self.assign()
        self.take_over()

    def take_over(self) -> None:
        """Own; where that is refused, have Kafka vouch first."""
        owner = self.owners[-1]
        self.own(owner)
        if owner.ledger.incarnation != self.model.incarnation or self.model.incarnation is None:
            self.pin(owner)
            self.own(owner)
        assert owner.ledger.incarnation == self.model.incarnation

    def assign(self) -> None:
        self.generation += 1
        self.owners.append(Owner(self.scene.unowned(self.generation, f"m{len(self.owners)}"), self.kafka))

    def pin(self, owner: Owner) -> None:
        """Commit before the ledger is owned: the incarnation, or what was read. Kafka refuses a zombie's commit."""
        if owner is self.owners[-1]:
            incarnation = owner.read.incarnation or f"i{len(self.owners)}"
            owner.read = self.kafka = replace(owner.read, incarnation=incarnation)
            owner.vouched = owner.asked

    @rule(data=st.data(), chance=rarely)
    def own_again(self, data: st.DataObject, *, chance: bool) -> None:
        """Also as a zombie does: with its old generation, and what it read and was told when that was new."""
        if chance:
            owner = self.draw_owner(data)
            # Assigned anew, it has read Kafka again.
            if owner is self.owners[-1] or data.draw(st.booleans()):
                owner.read, owner.vouched = self.kafka, owner.vouched if owner.read == self.kafka else ""
            self.own(owner)

    def own(self, owner: Owner) -> None:
        ledger, committed, vouched = owner.ledger, owner.read, owner.vouched
        self.questions += 1
        question = f"question{self.questions}"
        discarded = self.model.incarnation

        def expected() -> tuple[set[int], set[int], set[int]]:
            self.model.own(ledger.generation, ledger.member, committed, question=question, vouched=vouched)
            return set(self.model.claims), set(self.model.outcomes), set(self.model.marks)

        def real() -> tuple[set[int], set[int], set[int]]:
            return ledger.own(committed, wake="wake", question=question, vouched=vouched)

        answer = self.compare(real, expected)
        if answer is None:
            owner.asked = question
            return
        assert ledger.incarnation == self.model.incarnation
        if discarded not in (None, ledger.incarnation):
            true = self.owners[-1]
            assert owner is true or true.ledger.incarnation != discarded, "a zombie discards what the true owner holds"
        self.ownerships += 1
        ledger.tag = f"tag{self.ownerships}"
        owner.found, owner.heard, owner.unread, owner.settled = {}, {}, set(answer[0]), set()

    @rule(data=st.data(), offsets=picked)
    def claim(self, data: st.DataObject, offsets: list[int]) -> None:
        owner = self.draw_owner(data)
        wanted = [offset for offset in offsets if not self.kafka.holds(offset)]

        def real() -> dict[int, tuple[str, Past, bool, str | None]]:
            known = owner.ledger.claim(wanted)
            return {
                offset: (one.state, one.past, one.leased, None if one.raised is None else one.raised.reason)
                for offset, one in known.items()
            }

        def expected() -> dict[int, tuple[str, Past, bool, str | None]]:
            self.fence(owner)
            known = self.model.claim(wanted, owner.ledger.tag)
            return {
                offset: (state, self.model.claims.get(offset, FIRST), offset in self.model.leases, unheard(offset))
                for offset, state in known.items()
            }

        def unheard(offset: int) -> str | None:
            return self.model.raised[offset][1] if offset in owner.unread & self.model.raised.keys() else None

        if wanted and self.compare(real, expected) is not None:
            for offset in owner.unread.intersection(wanted):
                if offset in self.model.raised:
                    owner.heard[offset] = self.model.raised[offset]
            owner.unread.difference_update(wanted)

    @rule(data=st.data(), may_expire=st.booleans())
    def turn(self, data: st.DataObject, *, may_expire: bool) -> None:
        owner = self.draw_owner(data)

        def real() -> tuple[dict[int, tuple[Past, str]], dict[int, bytes], set[int]]:
            turn = looked(owner.ledger, may_expire=may_expire)
            return {one.offset: (one.past, one.reason) for one in turn.raised}, dict(turn.outcomes), set(turn.settled)

        def expected() -> tuple[dict[int, tuple[Past, str]], dict[int, bytes], set[int]]:
            self.fence(owner)
            self.model.hear(owner.heard)
            if may_expire:
                for offset, run in self.model.leases.items():
                    self.note_death(offset, alone=run in self.model.expired and self.model.runs[run][0] == 1)
                self.model.expire()
            heard = {offset: one for offset, one in self.model.raised.items() if offset not in owner.unread}
            return heard, dict(self.model.outcomes), self.model.hears_what_is_handled()

        answer = self.compare(real, expected)
        if answer is not None:
            owner.heard, owner.found, settled = answer
            owner.settled |= settled
            assert list(owner.found) == sorted(owner.found)

    @rule(data=st.data())
    def settle_what_was_found(self, data: st.DataObject) -> None:
        owner = self.draw_owner(data)
        offsets = sorted(owner.found)

        def expected() -> bool:
            self.fence(owner)
            self.model.settle(offsets)
            return True

        def real() -> bool:
            owner.ledger.settle(offsets)
            return True

        if offsets and self.compare(real, expected):
            owner.settled |= set(offsets)
            owner.found = {}

    @precondition(lambda self: self.model.claims)
    @rule(data=st.data(), outcome=st.sampled_from([b"failed", b"died"]))
    def conclude(self, data: st.DataObject, outcome: bytes) -> None:
        owner = self.draw_owner(data)
        offset = data.draw(st.sampled_from(sorted(self.model.leases) or sorted(self.model.claims)))

        def expected() -> set[int]:
            self.fence(owner)
            return self.model.conclude(offset, outcome)

        self.compare(lambda: owner.ledger.conclude({offset: outcome}), expected)

    @rule(forget=st.booleans())
    def commit(self, *, forget: bool) -> None:
        """By the true owner, for Kafka refuses the others; the ledger may not hear of it before the owner dies."""
        owner = self.owners[-1]
        if owner.ledger.incarnation != self.kafka.incarnation:
            return
        finished = {offset for offset in OFFSETS if offset in owner.settled or self.kafka.holds(offset)}
        finished |= self.model.marks if owner.ledger.incarnation == self.model.incarnation else set()
        unfinished = tuple(offset for offset in OFFSETS if offset not in finished)
        highest = max(finished, default=-1)
        safe = min([*unfinished, OFFSETS[-1] + 1])
        below = tuple(offset for offset in unfinished if offset < highest)
        self.kafka = Committed(safe, max(highest, safe - 1), below, owner.ledger.incarnation)
        if forget:
            committed = self.kafka

            def expected() -> None:
                self.fence(owner)
                self.model.forget(committed)

            self.compare(lambda: owner.ledger.forget(committed), expected)

    # Runs

    @rule(data=st.data(), offsets=picked, steps=st.integers(2, 6))
    def all_goes_well_for_a_while(self, data: st.DataObject, offsets: list[int], steps: int) -> None:
        """Steps in the order in which they usually come, so that the others meet every state."""
        self.claim(data, offsets)
        if steps > 1 and self.model.claims:
            self.dispatch(data)
        if steps > 2 and self.tasks:
            self.begin(data, 1)
        if steps > 3 and self.runs:
            self.finish(data, b"a")
        if steps > 4:
            self.turn(data, may_expire=False)
        if steps > 5:
            self.settle_what_was_found(data)

    @precondition(lambda self: self.model.claims)
    @rule(data=st.data())
    def dispatch(self, data: st.DataObject) -> None:
        owner = self.draw_owner(data)
        offsets = data.draw(st.lists(st.sampled_from(sorted(self.model.claims)), min_size=1, max_size=3, unique=True))
        events = [(offset, self.model.claims[offset].d) for offset in offsets]
        self.tasks.append((str(self.model.incarnation), owner.ledger.tag, events))

    @precondition(lambda self: self.tasks)
    @rule(data=st.data(), process=st.integers(1, 2))
    def begin(self, data: st.DataObject, process: int) -> None:
        """Any task, any time, also twice: Celery loses, repeats and delays. A copy has the name of the first."""
        at = len(self.tasks) - 1 - data.draw(st.integers(0, min(4, len(self.tasks) - 1)))
        incarnation, tag, events = self.tasks[at]
        ledger = self.scene.run(f"{process}/{at}", incarnation=incarnation, tag=tag)
        accepted = self.compare_begin(ledger, events)
        for offset in accepted:
            began = (self.losses, incarnation, offset, dict(events)[offset])
            assert began not in self.began, "one dispatch ran twice"
            self.began.add(began)
        if accepted:
            self.runs.append(Run(ledger, [event for event in events if event[0] in accepted]))

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def begin_again_for_the_answer_was_lost(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs[-4:]))
        self.compare_begin(run.ledger, run.events)

    def compare_begin(self, ledger: RunLedger, events: list[tuple[int, int]]) -> set[int]:
        accepted = ledger.begin(events)
        assert accepted == self.model.begin(ledger.incarnation, ledger.run, ledger.nonce, ledger.tag, events)
        return accepted

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs[-4:]))
        expected = self.model.renew(run.ledger.incarnation, run.ledger.run, run.events, len(run.events))
        assert run.ledger.renew(run.events, len(run.events)) == expected

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), outcome=st.sampled_from([b"", b"a", b"b", "retry", "held"]))
    def finish(self, data: st.DataObject, outcome: bytes | str) -> None:
        """Report some or all; report again what was reported, as after a lost answer."""
        run = data.draw(st.sampled_from(self.runs[-4:]))
        count = data.draw(st.integers(1, len(run.events)))
        last = count == len(run.events)
        reports = [(offset, d, outcome) for offset, d in run.events[:count]]
        expected = self.model.finish(run.ledger.incarnation, run.ledger.run, reports, last=last)
        said = [
            Report(offset, d, outcome)
            if isinstance(outcome, bytes)
            else Report(offset, d, retry_in=60.0 if outcome == "retry" else None, held=outcome == "held")
            for offset, d in run.events[:count]
        ]
        assert run.ledger.finish(said, last=last, text="") == expected

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), at_fault=st.booleans())
    def the_child_dies_and_the_main_process_says_so(self, data: st.DataObject, *, at_fault: bool) -> None:
        run = data.draw(st.sampled_from(self.runs[-4:]))
        alone = at_fault and self.model.runs.get(run.ledger.run, (0, ""))[0] == 1
        for offset, d in run.events:
            if self.model.d(offset) == d and self.model.leases.get(offset, run.ledger.run) == run.ledger.run:
                self.note_death(offset, alone=alone)
        expected = self.model.release(run.ledger.incarnation, run.ledger.run, run.events, at_fault=at_fault)
        assert run.ledger.release(run.events, reason="died", at_fault=at_fault, text="") == expected

    @precondition(lambda self: self.model.runs)
    @rule(data=st.data())
    def a_lease_runs_out(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(sorted(self.model.runs)))
        self.scene.let_expire(run)
        self.model.expired.add(run)

    # Redis

    @rule()
    def redis_writes_its_data_down(self) -> None:
        keys = [key for key in keys_of(self.scene.base) if self.scene.client.exists(key)]
        self.snapshot = [(key, self.scene.client.dump(key)) for key in keys], self.model.copy()

    @precondition(lambda self: self.snapshot)
    @rule(chance=rarely)
    def redis_loses_its_tail(self, *, chance: bool) -> None:
        if not chance or self.snapshot is None:
            return
        self.lose_everything()
        kept, model = self.snapshot
        for key, value in kept:
            self.scene.client.restore(key, 0, value)
        self.model = model.copy()

    @rule(chance=rarely)
    def redis_is_emptied(self, *, chance: bool) -> None:
        if chance:
            self.lose_everything()

    def lose_everything(self) -> None:
        self.scene.client.flushdb()
        self.model = Model()
        self.losses += 1

    # What always holds

    @invariant()
    def the_ledger_is_what_the_model_says_and_sound(self) -> None:
        held = self.scene.held()
        if self.owners:
            assert held == self.model.held()
        at_most_one_of_claim_outcome_and_mark(held)
        a_lease_implies_a_claim_and_a_run_and_does_not_wait(held)
        if not self.losses:
            self.counted_deaths_are_deaths_alone(held)

    def counted_deaths_are_deaths_alone(self, held: Held) -> None:
        for offset, past in held.claims.items():
            assert past.deaths + past.failures + past.idle < past.d
            assert past.deaths <= self.deaths.get((self.losses, str(self.model.incarnation), offset), 0)

    # Parts

    def draw_owner(self, data: st.DataObject) -> Owner:
        """The true owner more often than a zombie."""
        return self.owners[-min(data.draw(st.sampled_from([1, 1, 1, 1, 1, 2, 3])), len(self.owners))]

    def fence(self, owner: Owner) -> None:
        self.model.fence(owner.ledger.generation, owner.ledger.member, owner.ledger.incarnation)

    def note_death(self, offset: int, *, alone: bool) -> None:
        at = (self.losses, str(self.model.incarnation), offset)
        self.deaths[at] = self.deaths.get(at, 0) + alone

    def compare(self, real: Callable[[], Any], expected: Callable[[], Any]) -> Any:
        """Return the answer; None where both refuse."""
        refusal, wanted = None, None
        try:
            wanted = expected()
        except Refused as error:
            refusal = error
        if refusal is not None:
            with pytest.raises(Fenced) as caught:
                real()
            assert caught.value.lost == refusal.lost
            return None
        answer = real()
        assert answer == wanted
        return answer


def at_most_one_of_claim_outcome_and_mark(held: Held) -> None:
    assert not held.claims.keys() & held.outcomes.keys()
    assert not held.claims.keys() & held.marks
    assert not held.outcomes.keys() & held.marks


def a_lease_implies_a_claim_and_a_run_and_does_not_wait(held: Held) -> None:
    assert held.leases.keys() <= held.claims.keys()
    assert set(held.leases.values()) <= held.runs.keys()
    assert held.due <= held.claims.keys() - held.leases.keys()
    assert held.raised.keys() <= held.due


@pytest.mark.parametrize("server", SERVERS)
def test_the_scripts_do_what_the_model_does_whatever_comes_between(server: str) -> None:
    chosen = settings(
        max_examples=int(ASKED or 100),
        stateful_step_count=50,
        deadline=None,
        derandomize=ASKED is None,
        database=None,
        suppress_health_check=list(HealthCheck),
        # Shrinking takes minutes and helps only whoever looks for a fault.
        phases=[Phase.generate, Phase.shrink] if ASKED else [Phase.generate],
    )
    with running(server) as url, connected(url) as connection:
        machine = type("Machine", (LedgerMachine,), {"connection": connection})
        run_state_machine_as_test(machine, settings=chosen)
