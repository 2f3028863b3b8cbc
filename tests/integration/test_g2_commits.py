"""G2: a commit moves only over finished events, and an event is finished once Kafka has all that it published."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaufmann_celery.partitions.commit_metadata import Committed
from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.service_process import eventually
from tests.integration.tcp_proxy import Proxy


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """What the service's clients reach Kafka through."""
    with Proxy() as one:
        yield one


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path, proxy: Proxy) -> Iterator[Jobs]:
    options = json.dumps({"proxy_url": f"http://127.0.0.1:{proxy.port}", "request_timeout_ms": 3000})
    settings = {"commit_interval": "0.05", "max_demand": "20", "kafka_options": options}
    with jobs(tmp_path, stack, name="g2", settings=settings) as one:
        yield one


def commits(service: Jobs) -> dict[int, Committed]:
    return {partition: commit for partition in (0, 1) if (commit := service.commit(partition)) is not None}


def answered(service: Jobs) -> set[str]:
    """Return the ids of jobs that Kafka has an answer or an error event for."""
    kafka, by_position = service.scene.kafka, {position: one for one, position in service.positions.items()}
    written = [one for topic in (service.scene.out, service.scene.dead) for one in kafka.read(topic)]
    done = {json.loads(one.value or b"")["id"] for one in written if one.key == b"job.done"}
    return done | {by_position[one.original] for one in written if one.original in by_position}


def check(service: Jobs) -> dict[int, Committed]:
    """Check that Kafka has the outputs of all that is committed as finished; return the commits."""
    # The commits first: what they hold was published before.
    found = commits(service)
    there = answered(service)
    held = {
        one
        for one, position in service.positions.items()
        if position.partition in found and found[position.partition].holds(position.offset)
    }
    assert held <= there
    return found


def test_no_commit_passes_a_stuck_event_whatever_finishes_behind_it(service: Jobs) -> None:
    draw = random.Random(2)
    first = [service.ask(1, f"sleep {draw.random() / 50:.3f}", partition=0)[0] for _ in range(30)]
    (stuck,) = service.ask(1, "until go", partition=0)
    behind = [service.ask(1, f"sleep {draw.random() / 20:.3f}", partition=0)[0] for _ in range(200)]
    at = service.positions[stuck].offset
    service.worker()
    service.ingester()
    seen: list[Committed] = []

    def all_behind_are_finished() -> bool:
        found = check(service)
        if 0 in found and (not seen or seen[-1] != found[0]):
            seen.append(found[0])
        return bool(seen) and all(seen[-1].holds(service.positions[one].offset) for one in (*first, *behind))

    eventually(all_behind_are_finished, "all but one are committed as finished", RECOVERY_S, service.typed.has_died)
    assert len(seen) > 5
    assert [one.offset for one in seen] == sorted(one.offset for one in seen)
    assert seen[-1].offset == at
    assert seen[-1].unfinished == (at,)
    (service.typed.directory / "go").touch()
    service.done(*first, stuck, *behind)
    service.ran_once(*first, stuck, *behind)


@pytest.mark.parametrize("killed", [False, True], ids=["goes-on", "killed"])
def test_while_kafka_takes_no_error_events_the_offset_waits_for_them(service: Jobs, proxy: Proxy, killed: bool) -> None:
    proxy.swallows = b"event.error.job.asked"
    before = service.ask(10, partition=0)
    (failing,) = service.ask(1, "fail", partition=0)
    behind = service.ask(10, partition=0)
    at = service.positions[failing]
    service.worker()
    service.ingester()
    service.await_runs([*before, failing, *behind], 21)
    eventually(lambda: proxy.swallowed > 1, "it was tried twice", RECOVERY_S, service.typed.has_died)
    if killed:
        service.typed.kill("ingester")
        service.ingester("second")
    tries = proxy.swallowed

    def tried_again() -> bool:
        found = check(service)
        assert 0 not in found or (found[0].offset <= at.offset and not found[0].holds(at.offset))
        return proxy.swallowed > tries + 1

    eventually(tried_again, "it is tried again and again", RECOVERY_S, service.typed.has_died)
    proxy.swallows = None
    service.scene.kafka.await_records(service.scene.out, lambda one: one.original == at, timeout_s=RECOVERY_S)
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)
    check(service)
    service.ran_once(*before, *behind)
    assert service.ran(failing) == {failing: 1}


def test_while_kafka_takes_no_dead_letter_the_offset_waits_for_it(service: Jobs, proxy: Proxy) -> None:
    raw = b"\xff undecodable"
    proxy.swallows = raw
    before = service.ask(5, partition=0)
    bad = service.positions["bad"] = service.scene.send(b"job.asked", raw, partition=0)
    behind = service.ask(5, partition=0)
    service.worker()
    service.ingester()
    eventually(lambda: proxy.swallowed > 1, "it was tried twice", RECOVERY_S, service.typed.has_died)
    found = check(service)
    assert 0 not in found or not found[0].holds(bad.offset)
    proxy.swallows = None
    service.done(*before, *behind)
    (letter,) = [one for one in service.scene.kafka.read(service.scene.dead) if one.original == bad]
    assert letter.value == raw
    check(service)
