"""G3: a rebalance, a graceful stop, a SIGKILLed ingester, a Celery redelivery and a lost connection repeat no run."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.service_process import eventually
from tests.integration.tcp_proxy import Proxy

#: Default settings make a death good within this many seconds; the rest is for a slow machine.
_MADE_GOOD_S = 15.0


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path) -> Iterator[Jobs]:
    with jobs(tmp_path, stack, name="g3") as one:
        yield one


def assigned(service: Jobs, label: str) -> set[str]:
    """Return every partition that *label* was assigned so far, by its log."""
    lines = re.findall(r"assigned (.*) in generation", service.typed.log(label))
    return {partition for line in lines for partition in line.split(", ")} - {"nothing"}


def await_assigned(service: Jobs, label: str, partitions: int = 1) -> None:
    """Wait until *label* was assigned so many partitions."""
    eventually(
        lambda: len(assigned(service, label)) >= partitions,
        f"{label} is assigned {partitions} partitions", RECOVERY_S, service.typed.has_died,
    )  # fmt: skip


@pytest.mark.parametrize("strategy", ["range", "cooperative-sticky"])
def test_rebalances_repeat_nothing(stack: dict[str, str], tmp_path: Path, strategy: str) -> None:
    """Ingesters come and go under load, with eager and with cooperative assignment."""
    options = json.dumps({"partition_assignment_strategy": [strategy]})
    with jobs(tmp_path, stack, name="rebalance", settings={"kafka_options": options}) as service:
        ids = service.ask(1500, "sleep 0.02")
        service.worker()
        service.ingester("first")
        service.await_runs(ids, 50)
        service.ingester("second")
        await_assigned(service, "second")
        service.typed.stop("first")
        service.ingester("third")
        await_assigned(service, "third")
        service.typed.stop("second")
        service.done(*ids)
        service.ran_once(*ids)


def test_a_rebalance_does_not_wait_for_handlers_and_the_new_owner_adopts_what_runs(service: Jobs) -> None:
    ids = service.ask(2, "until go")
    service.worker()
    service.ingester("first")
    service.await_runs(ids, 2)
    service.ingester("second")
    await_assigned(service, "second")
    stopped_at = time.monotonic()
    service.typed.stop("first")
    await_assigned(service, "second", 2)
    handed_over_s = time.monotonic() - stopped_at
    # Both still run, and are outstanding for the new owner, who does not send them again.
    later = service.ask(20)
    assert service.ran(*ids, word="end").total() == 0
    (service.typed.directory / "go").touch()

    service.done(*ids, *later)
    service.ran_once(*ids, *later)
    assert handed_over_s < _MADE_GOOD_S


def test_an_ingester_that_is_killed_repeats_nothing(service: Jobs) -> None:
    ids = service.ask(1500, "sleep 0.02")
    service.worker()
    service.ingester("first")
    service.await_runs(ids, 100)
    service.typed.kill("first")
    killed_at = time.monotonic()
    service.ingester("second")
    await_assigned(service, "second")
    made_good_s = time.monotonic() - killed_at
    service.done(*ids, may_repeat=True)
    service.ran_once(*ids)
    assert made_good_s < 2 * _MADE_GOOD_S


@pytest.mark.soak
def test_an_ingester_that_is_killed_again_and_again_repeats_nothing(service: Jobs) -> None:
    ids = service.ask(1200, "sleep 0.02")
    service.worker()
    for number in range(4):
        label = f"ingester-{number}"
        ran = sum(service.ran(*ids).values())
        service.ingester(label)
        eventually(lambda ran=ran: sum(service.ran(*ids).values()) > ran + 20, "more of the jobs run", RECOVERY_S)  # type: ignore[misc] # bound now
        service.typed.kill(label)
    service.ingester("last")
    service.done(*ids, may_repeat=True)
    service.ran_once(*ids)


def test_a_worker_that_is_stopped_ends_what_it_runs_and_loses_nothing(service: Jobs) -> None:
    """What it had fetched and not begun is run by another."""
    ids = service.ask(600, "sleep 0.05")
    service.ingester()
    service.worker("first")
    service.worker("second")
    service.await_runs(ids, 20)
    service.typed.stop("first")
    ran = sum(service.ran(*ids).values())
    eventually(lambda: sum(service.ran(*ids).values()) > ran + 20, "the other goes on", RECOVERY_S)
    service.typed.stop("second")
    assert service.ran(*ids) == service.ran(*ids, word="end")
    service.worker("third")
    service.done(*ids)
    service.ran_once(*ids)


def test_a_task_message_that_comes_again_runs_nothing_again(service: Jobs, stack: dict[str, str]) -> None:
    """As Celery's redelivery sends it: while it waits, while it runs, and after it has ended."""
    queue = f"kaufmann.{service.name}"
    with redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"]) as broker:
        ids = service.ask(20, "sleep 0.2")
        service.ingester()
        eventually(lambda: broker.llen(queue) >= 8, "tasks wait for a worker", RECOVERY_S)
        messages = [bytes(one) for one in broker.lrange(queue, 0, -1)]
        broker.lpush(queue, *messages, *messages)
        service.worker()
        service.await_runs(ids, 4)
        broker.lpush(queue, *messages)
        service.done(*ids)
        broker.lpush(queue, *messages)
        more = service.ask(4)
        service.done(*more)
        eventually(lambda: broker.llen(queue) == 0, "all copies were taken", RECOVERY_S)
        service.typed.stop("worker")
    service.ran_once(*ids, *more)


@pytest.mark.parametrize("part", ["redis", "kafka"])
def test_connections_that_are_cut_again_and_again_repeat_nothing(
    stack: dict[str, str], tmp_path: Path, part: str
) -> None:
    there = urlsplit(stack["KAUFMANN_REDIS_URL"])
    with Proxy((str(there.hostname), int(there.port or 0)) if part == "redis" else None) as proxy:
        settings = {
            "redis": {"redis_url": f"redis://127.0.0.1:{proxy.port}/0"},
            "kafka": {"kafka_options": json.dumps({"proxy_url": f"http://127.0.0.1:{proxy.port}"})},
        }[part]
        with jobs(tmp_path, stack, name="cut", settings=settings) as service:
            ids = service.ask(600, "sleep 0.02")
            service.worker()
            service.ingester()
            for number in range(1, 7):
                service.await_runs(ids, 40 * number)
                proxy.cut()
            service.done(*ids)
            service.ran_once(*ids)
            assert proxy.cuts > 6
