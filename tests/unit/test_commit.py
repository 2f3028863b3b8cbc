from __future__ import annotations

import pytest
from kafka import TopicPartition

from kaufmann_celery.commit import CommitClock, CommitPolicy, Commits, Committer
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.partitions.commit_metadata import Committed
from tests.unit.ledger_in_memory import InMemory, owned_by, running

POLICY = CommitPolicy(threshold=100, interval=5.0)


@pytest.mark.parametrize(
    ("finished", "now", "due"),
    [
        (0, 10.0, False),
        (0, 1000.0, False),
        (1, 14.9, False),
        (1, 15.0, True),
        (99, 10.3, False),
        (100, 10.3, True),
        (10_000, 10.3, True),
    ],
)
def test_a_commit_is_due_by_count_or_by_time_whichever_comes_first(*, finished: int, now: float, due: bool) -> None:
    assert CommitClock(POLICY, now=10.0).is_due(finished, now) == due


def test_commits_come_no_faster_where_events_do() -> None:
    clock = CommitClock(POLICY, now=0.0)
    clock.sent(7.0)
    clock.answered()
    due = [at for at in (7.05, 7.1, 7.15, 7.25) if clock.is_due(10_000, at)]
    assert due == [7.25]


def test_a_commit_waits_for_the_answer_to_the_one_before() -> None:
    clock = CommitClock(POLICY, now=0.0)
    clock.sent(1.0)
    assert clock.in_flight
    assert not clock.is_due(1000, 1000.0)
    clock.answered()
    assert clock.is_due(1000, 1000.0)


def test_the_interval_counts_from_the_last_commit() -> None:
    clock = CommitClock(POLICY, now=0.0)
    clock.sent(7.0)
    clock.answered()
    assert not clock.is_due(1, 11.9)
    assert clock.is_due(1, 12.0)


def test_nothing_is_sent_where_there_is_nothing_to_say() -> None:
    sent: list[Commits] = []
    committer = Committer(CommitClock(POLICY, now=0.0), sent.append)
    committer.commit_due({}, 1000.0, hurry=True)
    committer.send({}, 1000.0)
    assert sent == []
    assert not committer.in_flight


def test_the_answer_frees_the_way_for_the_next_commit_even_when_it_is_an_error() -> None:
    sent: list[Commits] = []
    committer = Committer(CommitClock(POLICY, now=0.0), sent.append)
    commits = {TopicPartition("orders", 0): Committed(1, 0, (), "i")}
    committer.send(commits, 1.0)
    assert sent == [commits]
    assert committer.in_flight
    committer.answered(commits, UnavailableError(), {})
    assert not committer.in_flight


@pytest.mark.parametrize("hurry", [False, True])
def test_one_commit_is_on_its_way_at_a_time(*, hurry: bool) -> None:
    owned = owned_by(InMemory())
    running(owned, 0, 1, 2)
    partitions = {owned.partition: owned}
    sent: list[Commits] = []
    committer = Committer(CommitClock(POLICY, now=0.0), sent.append)
    for offset in (0, 1):
        owned.finish(offset)
        committer.commit_due(partitions, 10.0 * (offset + 1), hurry=hurry)
    assert [commits[owned.partition].offset for commits in sent] == [1]
    committer.answered(sent[0], None, partitions)
    committer.commit_due(partitions, 30.0, hurry=hurry)
    assert [commits[owned.partition].offset for commits in sent] == [1, 2]


@pytest.mark.parametrize(
    ("incarnation", "error", "forgettable"),
    [("history", None, True), ("history", UnavailableError(), False), ("another", None, False)],
)
def test_marks_may_go_once_kafka_has_the_commit_that_covers_them(
    incarnation: str, error: Exception | None, *, forgettable: bool
) -> None:
    """One of another incarnation was sent for the ledger of before."""
    owned = owned_by(InMemory())
    running(owned, 0)
    committed = Committed(1, 0, (), incarnation)
    committer = Committer(CommitClock(POLICY, now=0.0), lambda _: None)
    committer.send({owned.partition: committed}, 1.0)
    committer.answered({owned.partition: committed}, error, {owned.partition: owned})

    assert owned.forgettable == (committed if forgettable else None)


def test_in_transactions_what_is_due_is_committed_at_once_and_again_where_that_failed() -> None:
    owned = owned_by(InMemory())
    running(owned, 0)
    owned.finish(0)
    asked: list[bool] = []
    sent: list[Commits] = []
    away = True

    def at_once() -> None:
        asked.append(away)
        if away:
            raise UnavailableError

    committer = Committer(CommitClock(POLICY, now=0.0), sent.append, at_once=at_once)
    with pytest.raises(UnavailableError):
        committer.commit_due({owned.partition: owned}, 10.0)
    away = False
    committer.commit_due({owned.partition: owned}, 10.1)
    committer.commit_due({owned.partition: owned}, 10.2)
    assert asked == [True, False]
    assert sent == []
    assert not committer.in_flight
