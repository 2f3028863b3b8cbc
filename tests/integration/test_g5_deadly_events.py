"""G5: an event that kills its worker is tried `max_attempts` times, alone, and takes no other event with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.jobs import JOB, RECOVERY_S, SERVICE, Jobs, jobs

_SERVICE = (
    SERVICE
    + """

@kaufmann.on("job.limited", time_limit=1, max_retries=1, retry_backoff=0.1)
def endless(event):
    note("begin", event)
    while True:
        pass
"""
)


@pytest.fixture(scope="module")
def service(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    settings = {"max_demand": "200"}
    schemas = {"job.limited": JOB}
    with jobs(tmp_path_factory.mktemp("g5"), stack, _SERVICE, name="g5", schemas=schemas, settings=settings) as one:
        one.ingester()
        one.worker()
        yield one


def error_event(service: Jobs, job: str, *, name: str = "job.asked", error_type: str, attempts: int) -> None:
    """Wait for the job's error event, and check it."""
    position = service.positions[job]
    service.scene.kafka.await_records(service.scene.out, lambda one: one.original == position, timeout_s=RECOVERY_S)
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)
    (found,) = [one for one in service.scene.kafka.read(service.scene.out) if one.original == position]
    assert found.key == f"event.error.{name}".encode()
    service.scene.check_failure_headers(found, position, error_type=error_type, attempts=attempts)


@pytest.mark.parametrize("death", ["exit", "segfault", "memory", "signal SIGKILL"])
def test_an_event_alone_in_its_task_is_tried_three_times(service: Jobs, death: str) -> None:
    (deadly,) = service.ask(1, death)

    error_event(service, deadly, error_type="WorkerDied", attempts=3)
    assert [run.attempt for run in service.runs() if run.id == deadly] == [1, 2, 3]


@pytest.mark.parametrize(
    "death", ["segfault", "memory", *(pytest.param(one, marks=pytest.mark.soak) for one in ("exit", "signal SIGKILL"))]
)
def test_an_event_in_company_is_found_and_what_was_reported_never_runs_again(service: Jobs, death: str) -> None:
    # The handler is known to be fast, so that many events share a task.
    service.done(*service.ask(300))
    service.typed.stop("worker")
    # They come all at once, so that they share tasks of 20: the deadly one comes after 15 that are reported one by
    # one, for each takes its time.
    with service.typed.frozen("ingester"):
        before = service.ask(15, "sleep 0.1", partition=0)
        (deadly,) = service.ask(1, death, partition=0)
        after = service.ask(150, partition=0)
    service.worker()

    service.done(*before, *after)
    error_event(service, deadly, error_type="WorkerDied", attempts=4)
    assert ["+" in run.task for run in service.runs() if run.id == deadly] == [True, False, False, False]
    service.ran_once(*before)
    again = {run.id for run in service.runs() if run.id in after and service.ran(run.id)[run.id] > 1}
    assert all("+" not in run.task for run in service.runs() if run.id in again and run.attempt > 1)


def test_an_endless_loop_under_a_time_limit_is_a_failure_with_its_retries(service: Jobs) -> None:
    (endless,) = service.ask(1, name="job.limited")

    error_event(service, endless, name="job.limited", error_type="TimeLimitExceeded", attempts=2)
    assert [run.attempt for run in service.runs() if run.id == endless] == [1, 2]


def test_deaths_by_a_deploy_do_not_count(service: Jobs) -> None:
    (job,) = service.ask(1, "signal SIGTERM 5")

    service.done(job)
    assert [run.attempt for run in service.runs() if run.id == job] == [1, 2, 3, 4, 5, 6]
