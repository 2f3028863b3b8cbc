from __future__ import annotations

import time

import pytest
from celery.exceptions import TaskRevokedError, TimeLimitExceeded

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import DecodeError, PublishError, UnavailableError, WorkerDied
from kaufmann_celery.handlers import Handler
from kaufmann_celery.ledger import Past, Raised
from kaufmann_celery.outputs import outcome
from kaufmann_celery.outputs.composing import Composer
from kaufmann_celery.outputs.error_event import ErrorEvents
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending
from kaufmann_celery.tasks.reruns import Reruns
from kaufmann_celery.tasks.retries import RetryPolicy
from tests.unit import test_avro_reading as registries
from tests.unit.ledger_in_memory import InMemory, event, handler, offsets_of, owned_by, running

NOW_MS = 1_000_000
LIMITED = handler(time_limit=5.0)


class Scene:
    """One partition; `max_attempts` is 2."""

    def __init__(self) -> None:
        self.memory = InMemory()
        self.owned: OwnedPartition = owned_by(self.memory)
        self.on_error: set[str] = set()
        config = load_config("orders", keywords={}, conf={}, environ={})
        transcoders = registries.transcoders_of(registries.InMemory(), config)
        error_events = ErrorEvents(config, Composer(config, transcoders), transcoders.avro)
        self.reruns = Reruns(Failures(config, error_events), max_attempts=2, has_on_error=self.on_error.__contains__)

    def ran(self, *, of: Handler | None = None) -> Pending:
        """Return an event that was sent to run."""
        (pending,) = running(self.owned, 3, of=of)
        self.owned.ready.clear()
        pending.sent(time.monotonic(), 1)
        return pending

    def ends(self, pending: Pending, reason: str, *, d: int = 2, deaths: int = 0, in_s: float = 0.0) -> None:
        failures = d - 1 if reason in ("retry", "time_limit") else 0
        raised = Raised(pending.offset, Past(d, deaths, failures), NOW_MS + int(in_s * 1000), reason)
        self.memory.model.claims[pending.offset] = raised.past
        assert self.owned.raised(raised) is pending
        self.reruns.ended(self.owned, pending, raised, in_s)

    def ready_after(self, seconds: float, slots: int = 10) -> list[int]:
        self.reruns.ripen(time.monotonic() + seconds, slots)
        return offsets_of(self.owned.ready)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_retry_waits_for_its_time(scene: Scene) -> None:
    pending = scene.ran()
    scene.ends(pending, "retry", in_s=60.0)

    assert scene.owned.outstanding == 0
    assert 59.0 < scene.reruns.next_due(time.monotonic()) <= 60.0
    assert scene.ready_after(59.0) == []
    assert scene.ready_after(61.0) == [3]
    assert scene.owned.outstanding == 1
    assert scene.reruns.next_due(time.monotonic()) == float("inf")


def test_a_retry_whose_time_has_come_waits_for_a_slot(scene: Scene) -> None:
    pending = scene.ran()
    scene.ends(pending, "retry", in_s=1.0)

    assert scene.ready_after(2.0, slots=0) == []
    assert scene.owned.outstanding == 0
    # Nothing but the end of another event makes room: the loop need not turn before.
    assert scene.reruns.next_due(time.monotonic() + 2.0) == float("inf")
    assert scene.ready_after(2.0, slots=1) == [3]


def test_a_retry_that_kept_its_slot_needs_no_other(scene: Scene) -> None:
    scene.owned.waiting_holds = True
    scene.ends(scene.ran(), "retry", in_s=1.0)

    assert scene.ready_after(2.0, slots=0) == [3]


def test_a_retry_that_is_due_already_is_ready_at_once(scene: Scene) -> None:
    scene.ends(scene.ran(), "retry", in_s=-5.0)

    assert scene.reruns.next_due(time.monotonic()) == 0.0
    assert scene.ready_after(0.0) == [3]


def test_retries_become_ready_in_the_order_of_their_times(scene: Scene) -> None:
    for pending, seconds in zip(running(scene.owned, 1, 2, 4), (30.0, 10.0, 20.0), strict=True):
        scene.reruns.wait(scene.owned, pending, seconds)
    scene.owned.ready.clear()

    assert scene.ready_after(31.0) == [2, 4, 1]


def test_a_wait_that_was_overtaken_readies_nothing(scene: Scene) -> None:
    """The claim was forgotten and made anew, and runs: that its old retry is due says nothing."""
    pending = scene.ran()
    scene.ends(pending, "retry", in_s=10.0)
    scene.owned.found(pending, None)
    assert scene.ready_after(11.0) == []
    scene.ends(pending, "retry", d=2, in_s=100.0)
    scene.ends(pending, "retry", d=3, in_s=200.0)
    assert scene.ready_after(150.0) == []
    assert scene.ready_after(201.0) == [3]


@pytest.mark.parametrize("reason", ["expired", "died"])
def test_a_run_that_ended_without_a_report_runs_again_alone(scene: Scene, reason: str) -> None:
    pending = scene.ran()
    scene.ends(pending, reason, deaths=1)

    assert offsets_of(scene.owned.ready) == [3]
    assert (pending.failure, pending.goes_alone) == (None, True)


@pytest.mark.parametrize("reason", ["expired", "died"])
def test_an_event_that_took_its_worker_down_too_often_fails(scene: Scene, reason: str) -> None:
    pending = scene.ran()
    scene.ends(pending, reason, deaths=2)

    assert offsets_of(scene.owned.failing) == [3]
    assert isinstance(pending.failure, WorkerDied)
    assert "2 times" in str(pending.failure)


@pytest.mark.parametrize("reason", ["revoked", "rejected"])
def test_a_revoked_task_gives_its_event_a_failure(scene: Scene, reason: str) -> None:
    pending = scene.ran()
    scene.ends(pending, reason)

    assert offsets_of(scene.owned.failing) == [3]
    assert isinstance(pending.failure, TaskRevokedError)


def test_what_kafka_refuses_for_good_fails_its_event(scene: Scene) -> None:
    pending = scene.ran()
    scene.ends(pending, "refused")

    assert offsets_of(scene.owned.failing) == [3]
    assert isinstance(pending.failure, PublishError)


def test_a_run_over_its_time_limit_fails(scene: Scene) -> None:
    pending = scene.ran(of=LIMITED)
    scene.ends(pending, "time_limit")

    assert isinstance(pending.failure, TimeLimitExceeded)
    assert "5.0" in str(pending.failure)


def test_a_run_over_its_time_limit_is_made_again_where_the_handler_retries_it(scene: Scene) -> None:
    retry = RetryPolicy(max_retries=1, retry_backoff=10.0, retry_jitter=False)
    pending = scene.ran(of=handler(time_limit=5.0, retry=retry))
    scene.ends(pending, "time_limit")
    assert scene.ready_after(9.0) == []
    assert scene.ready_after(10.1) == [3]
    scene.ends(pending, "time_limit", d=3)
    assert isinstance(pending.failure, TimeLimitExceeded)


def test_an_adopted_event_that_took_workers_down_too_often_is_given_up(scene: Scene) -> None:
    healthy, deadly = running(scene.owned, 3, 4)
    deadly.past = Past(3, 2)
    for pending in (healthy, deadly):
        scene.reruns.adopted(scene.owned, pending)

    assert offsets_of(scene.owned.ready) == [3]
    assert offsets_of(scene.owned.failing) == [4]


def test_a_failure_is_told_to_on_error_once_then_it_is_concluded(scene: Scene) -> None:
    scene.on_error.add("order.placed")
    pending = scene.ran()
    scene.ends(pending, "revoked")
    first = pending.failure
    assert (offsets_of(scene.owned.ready), pending.told) == ([3], True)
    scene.owned.ready.clear()
    scene.ends(pending, "died", d=3, deaths=2)
    assert offsets_of(scene.owned.failing) == [3]
    assert pending.failure is first


def test_what_has_no_handler_is_concluded_though_there_is_an_on_error(scene: Scene) -> None:
    scene.on_error.add("order.placed")
    scene.reruns.route(scene.owned, event(3, error=DecodeError("bad")))

    assert offsets_of(scene.owned.failing) == [3]


def test_a_conclusion_puts_the_failure_into_the_ledger(scene: Scene) -> None:
    scene.ends(pending := scene.ran(), "revoked")

    assert scene.reruns.conclude(scene.owned)
    assert not scene.reruns.conclude(scene.owned)
    made = outcome.decode(scene.memory.model.outcomes[3])
    assert (made.error_type, [one.kind for one in made.records]) == ("TaskRevokedError", ["error"])
    assert scene.memory.model.claims == {}
    assert pending.reported


def test_a_record_that_cannot_be_decoded_is_concluded_with_what_is_wrong_with_it(scene: Scene) -> None:
    pending = event(3, error=DecodeError("its bytes are damaged"))
    scene.owned.ledger.claim([3])
    scene.owned.pending[3] = pending
    scene.reruns.route(scene.owned, pending)
    scene.reruns.conclude(scene.owned)

    made = outcome.decode(scene.memory.model.outcomes[3])
    assert (made.error_type, made.error) == ("DecodeError", "its bytes are damaged")


def test_a_conclusion_waits_for_a_redis_that_is_away(scene: Scene) -> None:
    scene.ends(pending := scene.ran(), "revoked")
    scene.memory.away = True
    with pytest.raises(UnavailableError):
        scene.reruns.conclude(scene.owned)
    assert (offsets_of(scene.owned.failing), pending.reported) == ([3], False)
    scene.memory.away = False
    assert scene.reruns.conclude(scene.owned)


def test_a_conclusion_that_the_ledger_refuses_is_compared_with_it_later(scene: Scene) -> None:
    """A run of it has begun meanwhile."""
    scene.ends(pending := scene.ran(), "revoked")
    scene.memory.model.lease(3, "run")
    scene.reruns.conclude(scene.owned)

    assert scene.memory.model.outcomes == {}
    assert (pending.leased, pending.reported) == (True, False)
