"""The chaos suite's judge says what is wrong, in evidence that was doctored, and only that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.evidence import Commit, Evidence, Ownership, Sample, Sent
from tests.chaos.journal import Run
from tests.unit.chaos_evidence import EVENTS, START, fault, good, judged, life, metadata, off, output, run

ORDERINGS = ("unordered", "key", "partition")
REPEATS, OUTPUTS = "unexplained repeats", "outputs that should not be"
COMMITS, ORDER = "commits over unfinished events", "order violations"


@pytest.mark.parametrize("ordering", ORDERINGS)
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
def test_nothing_is_off_where_all_went_well(ordering: str, delivery: str) -> None:
    assert off(good(ordering=ordering, delivery=delivery)) == {}


def test_an_event_without_an_end_is_lost_and_was_committed_unfinished() -> None:
    evidence = good()
    del evidence.published[4], evidence.runs[4]

    assert off(evidence) == {"lost events": 1, COMMITS: 1}


def test_an_event_whose_handler_succeeded_is_lost_where_its_output_is_missing() -> None:
    evidence = good()
    del evidence.published[4]

    assert off(evidence) == {"lost events": 1, COMMITS: 1}


def test_an_event_that_publishes_nothing_ends_with_its_run() -> None:
    evidence = good()
    evidence.sent[4] = replace(evidence.sent[4], kind="silent")
    del evidence.published[4]

    assert off(evidence) == {}
    del evidence.runs[4]
    assert off(evidence)["lost events"] == 1


def test_an_event_that_nobody_wants_needs_no_end_and_must_not_run() -> None:
    evidence = good()
    evidence.sent[4] = replace(evidence.sent[4], kind="unwanted")
    del evidence.published[4]

    assert off(evidence) == {"wrong endings": 1}
    del evidence.runs[4]
    assert off(evidence) == {}


def test_an_error_event_without_need_is_a_wrong_ending() -> None:
    evidence = good()
    evidence.published[4] = output(4, index=-1, error_type="ValueError")

    assert off(evidence) == {"wrong endings": 1}


def test_an_event_that_is_given_up_needs_as_many_deaths() -> None:
    evidence = good()
    evidence.sent[4] = replace(evidence.sent[4], kind="deadly")
    evidence.runs[4:5] = [run(4, at=at, lasts=None, dies=True, pid=int(100 * at)) for at in (0.1, 0.2, 0.3)]
    evidence.published[4] = output(4, index=-1, at=0.5, error_type="WorkerDied")

    assert off(evidence) == {}
    del evidence.runs[4]
    assert off(evidence) == {"wrong endings": 1}


def test_two_endings_are_one_too_many() -> None:
    evidence = good()
    evidence.sent[4] = replace(evidence.sent[4], kind="failing")
    evidence.published.append(output(4, index=-1, error_type="Asked"))

    assert off(evidence) == {"wrong endings": 1}


class TestRepeats:
    def repeated(self, **first: object) -> Evidence:
        evidence = good()
        evidence.runs[4] = run(4, **first)  # type: ignore[arg-type] # any field
        evidence.runs.append(run(4, at=0.25, lasts=0.02, pid=22))
        return evidence

    def test_one_that_no_fault_explains_is_off(self) -> None:
        assert off(self.repeated()) == {REPEATS: 1}

    def test_one_after_the_handlers_own_failure_is_a_retry(self) -> None:
        evidence = self.repeated(status="retry")

        assert off(evidence) == {}
        assert judged(evidence)[REPEATS].figures == {"retries": 1}

    def test_one_after_its_last_failure_is_off_unless_a_try_is_left(self) -> None:
        evidence = self.repeated(status="failed")
        assert off(evidence)[REPEATS] == 1

        evidence.sent[4] = replace(evidence.sent[4], kind="exhausted")
        evidence.published[4] = output(4, index=-1)
        assert off(evidence) == {}

    def test_a_failure_that_redis_forgot_leaves_the_try_that_it_took(self) -> None:
        evidence = self.repeated(status="retry")
        evidence.sent[4] = replace(evidence.sent[4], kind="exhausted")
        evidence.runs[-1] = replace(evidence.runs[-1], status="failed")
        evidence.runs.append(run(4, at=0.28, lasts=0.01, pid=23, status="failed"))
        evidence.published[4] = output(4, index=-1)
        assert off(evidence) == {REPEATS: 1}

        evidence.incidents.append(fault("redis-tail-lost", 4.23, lost_from=START + 4.19))
        assert off(evidence) == {}

    def test_one_after_its_process_was_killed_is_explained(self) -> None:
        evidence = self.repeated(lasts=None)
        assert off(evidence) == {REPEATS: 1}

        evidence.incidents.append(fault("child-kill", 4.2, killed=[21]))
        assert off(evidence) == {}

    def test_one_after_its_worker_was_killed_is_explained(self) -> None:
        evidence = self.repeated(lasts=None)
        evidence.incidents.append(fault("worker-kill", 4.2, killed=[20]))

        assert off(evidence) == {}

    def test_a_kill_long_before_or_after_explains_nothing(self) -> None:
        for at in (3.0, 8.0):
            evidence = self.repeated()
            evidence.incidents.append(fault("child-kill", at, killed=[21]))
            assert off(evidence) == {REPEATS: 1}

    def test_a_process_that_stood_still_for_less_than_its_lease_explains_nothing(self) -> None:
        evidence = good()
        evidence.runs[4] = run(4, lasts=3.0)
        evidence.runs.append(run(4, at=2.0, lasts=0.02, pid=22))
        evidence.published[4] = output(4, at=2.1)
        evidence.incidents.append(fault("child-freeze", 4.15, frozen=[21], ended=START + 7.0))

        assert off(evidence) == {REPEATS: 1}

    def test_one_after_its_process_stood_still_is_explained_once_the_lease_can_have_ended(self) -> None:
        evidence = good()
        evidence.runs[9] = run(9, lasts=14.0)
        evidence.runs.append(run(9, at=10.0, lasts=0.02, pid=22))
        evidence.published[9] = output(9, at=10.1)
        evidence.commits = [Commit(0, EVENTS, metadata(EVENTS, EVENTS - 1), START + 20)]
        evidence.incidents.append(fault("child-freeze", 9.15, frozen=[21], ended=START + 22.0))
        assert off(evidence) == {}

        evidence.runs[-1] = run(9, at=3.0, lasts=0.02, pid=22)
        assert off(evidence) == {REPEATS: 1}

    def test_the_death_of_an_ingester_explains_nothing(self) -> None:
        evidence = self.repeated()
        evidence.lives[0].ended, evidence.lives[0].asked, evidence.lives[0].code = START + 4.22, "SIGKILL", "-9"

        assert off(evidence) == {REPEATS: 1}

    def test_one_after_redis_lost_its_data_is_explained(self) -> None:
        evidence = self.repeated()
        evidence.incidents.append(fault("redis-flushed", 4.2, lost_from=START + 4.2))

        assert off(evidence) == {}
        assert judged(evidence)[REPEATS].figures["repeats after a loss"] == 1

    def test_one_of_a_task_that_had_begun_before_redis_lost_its_data_is_explained(self) -> None:
        """Its own run began after the loss, and the ledger knew no more that it would."""
        evidence = self.repeated()
        evidence.incidents.append(fault("redis-flushed", 3.5, lost_from=START + 3.5))
        assert off(evidence) == {REPEATS: 1}

        evidence.runs[3:5] = [replace(one, task="both") for one in evidence.runs[3:5]]
        assert off(evidence) == {}

    def test_of_what_was_committed_not_even_a_loss_explains_one(self) -> None:
        evidence = good()
        evidence.commits.insert(0, Commit(0, 5, metadata(5, 4), START + 5))
        evidence.runs.append(run(4, at=2.0, lasts=0.02, pid=22))
        evidence.incidents.append(fault("redis-flushed", 5.5, lost_from=START + 5.5))

        assert off(evidence) == {REPEATS: 1}

    def test_a_loss_explains_max_demand_of_them_for_each_ingester(self) -> None:
        evidence = good()
        evidence.setting.max_demand = 2
        evidence.runs += [run(number, at=9.25 - number, lasts=0.02, pid=22) for number in range(4)]
        evidence.published[:4] = [output(number, at=9.28 - number) for number in range(4)]
        evidence.incidents.append(fault("redis-flushed", 9.2, lost_from=START + 9.2))

        assert off(evidence) == {REPEATS: 2}
        evidence.lives.append(life("ingester", 11))
        assert off(evidence) == {}

    def test_what_was_not_committed_is_explained_as_well_where_an_ingester_died_with_redis(self) -> None:
        evidence = good()
        evidence.setting.max_demand = 1
        evidence.runs += [run(number, at=9.25 - number, lasts=0.02, pid=22) for number in range(4)]
        evidence.incidents.append(fault("redis-flushed", 9.2, lost_from=START + 9.2))
        assert off(evidence) == {REPEATS: 3}

        evidence.lives.append(replace(life("ingester", 11), ended=START + 9.3, asked="SIGKILL", code="-9"))
        assert off(evidence) == {}

    def test_what_was_not_committed_is_explained_as_well_where_its_partition_moved_with_the_loss(self) -> None:
        evidence = good()
        evidence.setting.max_demand = 1
        evidence.runs += [run(number, at=9.25 - number, lasts=0.02, pid=22) for number in range(4)]
        evidence.incidents.append(fault("redis-flushed", 9.2, lost_from=START + 9.2))
        evidence.owners.append(Ownership(START + 9.22, 1, "two"))
        assert off(evidence) == {REPEATS: 3}

        evidence.owners.append(Ownership(START + 9.22, 0, "two"))
        assert off(evidence) == {}

    def test_the_first_run_of_a_process_that_wakes_is_explained(self) -> None:
        """It had asked the ledger before it stood still, and the handler was called after."""
        evidence = good()
        evidence.runs.append(run(4, at=10.2, lasts=0.02, pid=22))
        evidence.published[4] = output(4)
        evidence.incidents.append(fault("child-freeze", 3.9, frozen=[22], ended=START + 14.1))
        assert off(evidence) == {}

        evidence.runs.append(run(5, at=9.15, lasts=0.02, pid=22))
        assert off(evidence) == {REPEATS: 1}


class TestOutputs:
    def copied(self, **copy: object) -> Evidence:
        evidence = good()
        evidence.published.append(output(4, at=0.5, **copy))
        evidence.lives.append(replace(life("ingester", 11), ended=START + 4.4, asked="SIGKILL", code="-9"))
        return evidence

    def test_a_copy_after_an_ingester_died_is_explained(self) -> None:
        evidence = self.copied()

        assert off(evidence) == {}
        assert judged(evidence)[OUTPUTS].figures["duplicates"] == 1

    def test_a_copy_by_one_that_kafka_could_not_hear_is_explained(self) -> None:
        evidence = self.copied()
        evidence.lives[-1] = life("ingester", 11)
        evidence.incidents.append(fault("kafka-away", -6.0, away="kafka"))
        assert off(evidence) == {OUTPUTS: 1}

        evidence.incidents.append(fault("kafka-away", -4.0, away="kafka"))
        assert off(evidence) == {}

    def test_a_copy_without_a_cause_is_off(self) -> None:
        evidence = self.copied()
        del evidence.lives[-1]

        assert off(evidence) == {OUTPUTS: 1}

    def test_a_copy_that_is_not_the_same_is_off(self) -> None:
        assert off(self.copied(digest="another")) == {OUTPUTS: 1}
        assert off(self.copied(message_id="another")) == {OUTPUTS: 1}

    def test_no_copy_is_right_under_exactly_once(self) -> None:
        evidence = self.copied()
        evidence.setting.delivery = "exactly_once"

        assert off(evidence) == {OUTPUTS: 1}


class TestCommits:
    def test_one_over_an_unfinished_event_is_off(self) -> None:
        evidence = good()
        evidence.commits.insert(0, Commit(0, 5, metadata(5, 4), START + 4.2))

        assert off(evidence) == {COMMITS: 1}

    def test_one_whose_metadata_passes_over_an_unfinished_event_is_off(self) -> None:
        evidence = good()
        evidence.published[2] = output(2, at=4.0)
        evidence.commits.insert(0, Commit(0, 2, metadata(2, 4), START + 4.9))
        assert off(evidence) == {COMMITS: 1}

        evidence.commits[0] = Commit(0, 2, metadata(2, 4, (2,)), START + 4.9)
        assert off(evidence) == {}

    def test_one_that_goes_back_is_off(self) -> None:
        evidence = good()
        evidence.commits.append(Commit(0, 3, metadata(3, EVENTS - 1), START + 12))

        assert off(evidence) == {COMMITS: 1}

    def test_one_that_has_forgotten_what_is_finished_above_it_is_off(self) -> None:
        evidence = good()
        evidence.commits.append(Commit(0, EVENTS, metadata(EVENTS, EVENTS - 1), START + 60))
        assert off(evidence) == {}

        evidence.commits = [Commit(0, 3, metadata(3, 2), START + 60)]
        assert off(evidence) == {COMMITS: 1}

    def test_metadata_that_was_cut_is_off(self) -> None:
        evidence = good()
        evidence.commits[0] = replace(evidence.commits[0], metadata=evidence.commits[0].metadata[:-2])

        assert off(evidence)[COMMITS] == 1


class TestOrder:
    def test_nothing_has_to_be_in_order_where_none_is_asked_for(self) -> None:
        evidence = good()
        evidence.runs[4] = run(4, at=1.15)
        evidence.published[4] = output(4, at=1.3)

        assert off(evidence) == {}

    @pytest.mark.parametrize("ordering", ORDERINGS[1:])
    def test_an_event_that_overtakes_another_is_off(self, ordering: str) -> None:
        evidence = good(ordering=ordering)
        evidence.runs[4] = run(4, at=1.3)
        evidence.published[4] = output(4, at=1.5)

        assert off(evidence) == {ORDER: 2}  # 5 began too early, and 4 too late

    @pytest.mark.parametrize("ordering", ORDERINGS[1:])
    def test_an_event_that_begins_while_the_one_before_runs_is_off(self, ordering: str) -> None:
        evidence = good(ordering=ordering)
        evidence.runs[4] = run(4, lasts=1.05)
        evidence.published[4] = output(4, at=1.2)

        assert off(evidence) == {ORDER: 2}  # it had not ended, and it ran

    def test_events_of_other_keys_may_run_beside_it(self) -> None:
        evidence = good(ordering="key")
        evidence.sent[5] = replace(evidence.sent[5], key="another")
        evidence.runs[4] = run(4, lasts=1.05)
        evidence.published[4] = output(4, at=1.2)

        assert off(evidence) == {}

    def test_one_that_waits_for_its_retry_blocks_its_lane(self) -> None:
        evidence = good(ordering="key")
        evidence.runs[4] = run(4, status="retry")
        evidence.runs.append(run(4, at=1.3))
        evidence.published[4] = output(4, at=1.5)

        assert ORDER in off(evidence)

    def test_a_zombie_that_wakes_does_not_count(self) -> None:
        evidence = good(ordering="key")
        evidence.sent[9] = replace(evidence.sent[9], at=START + 19)
        evidence.runs[8] = run(8, lasts=14.0)
        evidence.runs[9] = run(9, at=10.2)
        evidence.runs.append(run(8, at=10.0, lasts=0.02, pid=22))
        evidence.published[8:] = [output(8, at=10.1), output(9, at=10.5)]
        evidence.commits = [Commit(0, EVENTS, metadata(EVENTS, EVENTS - 1), START + 20)]
        evidence.incidents.append(fault("child-freeze", 8.15, frozen=[21], ended=START + 21.0))

        assert off(evidence) == {}
        # Nor where it dies soon after.
        evidence.incidents.append(fault("child-kill", 23.0, killed=[21]))
        assert off(evidence) == {}

    def test_one_that_killed_its_process_ran_until_then(self) -> None:
        """What the next one may have waited for is its error event, a few milliseconds later."""
        evidence = good(ordering="key")
        evidence.sent[4] = replace(evidence.sent[4], kind="deadly")
        evidence.sent[5] = replace(evidence.sent[5], at=START + 4.34)
        evidence.runs[5] = run(5, at=-0.65)
        evidence.published[4:6] = [
            output(4, at=0.34, index=-1, error_type="WorkerDied"), output(5, at=-0.5)
        ]  # fmt: skip

        def deaths(seconds: float) -> list[Run]:
            return [
                run(4, at=at, lasts=None, dies=True, pid=int(100 * at), died=START + 4 + at + seconds)
                for at in (0.1, 0.2, 0.3)
            ]

        evidence.runs[4:5] = deaths(0.005)
        assert off(evidence) == {}
        evidence.runs[4:7] = deaths(0.06)
        assert ORDER in off(evidence)

    def test_repeats_after_a_loss_go_back_without_being_out_of_order(self) -> None:
        evidence = good(ordering="key")
        evidence.runs += [run(number, at=9.25 - number + number / 100, lasts=0.005, pid=22) for number in range(4)]
        evidence.incidents.append(fault("redis-flushed", 9.2, lost_from=START + 9.2))

        assert off(evidence) == {}

    def test_a_repeat_after_a_loss_may_need_its_retries_again(self) -> None:
        evidence = good(ordering="key")
        evidence.sent[4] = replace(evidence.sent[4], kind="flaky")
        evidence.runs[4:5] = [run(4, status="retry"), run(4, at=0.3, lasts=0.05)]
        evidence.published[4] = output(4, at=0.4)
        evidence.runs += [run(4, at=5.25, lasts=0.01, status="retry", pid=22), run(4, at=5.4, lasts=0.01, pid=22)]
        evidence.incidents.append(fault("redis-flushed", 9.2, lost_from=START + 9.2))

        assert off(evidence) == {}


class TestRecovery:
    def stalled(self) -> Evidence:
        evidence = good()
        evidence.sent[9] = Sent(0, 9, "plain", "key", START + 9)
        evidence.runs[9] = run(9, at=29.0)
        evidence.published[9] = output(9, at=29.3)
        evidence.commits = [Commit(0, EVENTS, metadata(EVENTS, EVENTS - 1), START + 40)]
        return evidence

    def test_a_partition_that_finishes_nothing_for_too_long_is_off(self) -> None:
        assert off(self.stalled()) == {"slow recoveries": 1}

    def test_while_a_fault_goes_on_nothing_is_expected(self) -> None:
        evidence = self.stalled()
        evidence.incidents.append(fault("kafka-away", 10.0, ended=START + 25))

        assert off(evidence) == {}

    def test_what_has_to_run_again_after_a_loss_counts_as_going_on(self) -> None:
        evidence = self.stalled()
        evidence.runs.append(run(8, at=15.4, pid=22))
        assert off(evidence) == {REPEATS: 1, "slow recoveries": 1}

        evidence.incidents.append(fault("redis-flushed", 9.2, lost_from=START + 9.2))
        assert off(evidence) == {}

    def other_partition(self, events: int) -> Evidence:
        evidence = self.stalled()
        evidence.owners.append(Ownership(START, 1, "one"))
        for number in range(events):
            at = 10 + number * 28 / events - number
            evidence.sent.append(Sent(1, number, "plain", "other", START + number + at))
            evidence.runs.append(run(number, at=at, partition=1, run=f"other-{number}", task=f"other-{number}"))
            evidence.published.append(output(number, at=at + 0.2, partition=1))
        evidence.commits.append(Commit(1, events, metadata(events, events - 1), START + 41))
        return evidence

    def test_it_may_wait_for_its_turn_while_its_ingester_goes_on(self) -> None:
        evidence = self.other_partition(20)

        assert off(evidence) == {}
        assert judged(evidence)["slow recoveries"].figures["waits for a turn on a slow machine"] == 1

    def test_it_must_not_be_passed_over_again_and_again(self) -> None:
        assert off(self.other_partition(500)) == {"slow recoveries": 1}


def test_more_than_max_demand_is_off_where_the_ingester_claimed_it_itself() -> None:
    evidence = good()
    evidence.samples += [Sample(START, "one", 50, 90), Sample(START, "one", 51, 51)]

    assert off(evidence) == {"more than max_demand outstanding": 1}


def test_what_is_finished_is_not_outstanding_though_the_ledger_has_not_heard_of_it() -> None:
    evidence = good()
    many = tuple((0, number) for number in range(3, 54))
    evidence.samples.append(Sample(START + 3.2, "one", 51, 51, places=many))
    assert off(evidence) == {"more than max_demand outstanding": 1}

    evidence.samples[-1] = Sample(START + 3.4, "one", 51, 51, places=many)
    assert off(evidence) == {}


def test_a_process_that_ended_by_itself_is_off() -> None:
    evidence = good()
    evidence.lives += [
        replace(life("worker", 30), asked=None, code="1"),
        replace(life("worker", 31), asked="SIGKILL", code="-9"),
        replace(life("ingester", 32), code="1"),
        replace(life("worker", 33), code="-15"),
        replace(life("worker", 34), code="-15", asked_at=START - 5),
    ]

    assert off(evidence) == {"processes that ended by themselves": 3}


def test_a_run_that_was_given_up_or_whose_clock_was_set_is_not_trusted() -> None:
    evidence = good()
    evidence.gave_up, evidence.clock_shift_s = "stuck", 3.0

    assert off(evidence) == {"reasons to distrust the run": 2}


def test_a_run_whose_kafka_forgot_a_generation_is_not_trusted() -> None:
    evidence = good()
    evidence.generations = [1, 2, 2, 8, 11]
    assert off(evidence) == {}
    evidence.generations += [9, 10]
    assert off(evidence) == {"reasons to distrust the run": 1}


def test_no_evidence_is_no_good_run() -> None:
    assert off(Evidence()) == {"reasons to distrust the run": 3}


def test_what_waits_for_its_retry_is_not_outstanding_though_redis_has_forgotten_that() -> None:
    evidence = good()
    evidence.runs[4] = run(4, lasts=0.05, status="retry")
    evidence.runs.append(run(4, at=0.25, lasts=0.02))
    evidence.samples.append(Sample(START + 4.2, "one", 51, 51, places=tuple((0, number) for number in range(4, 55))))
    assert off(evidence) == {"more than max_demand outstanding": 1}

    evidence.incidents.append(fault("redis-tail-lost", 4.18, lost_from=START + 4.17))
    assert off(evidence) == {}
