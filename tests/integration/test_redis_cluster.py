"""The ledger on a Redis Cluster, with Celery's broker elsewhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.redis_cluster import Cluster, redis_cluster
from tests.integration.scene import GOOD, Scene, avro, scene
from tests.integration.service_process import eventually, unique
from tests.integration.user_commands import INGESTER, WORKER, Commands, commands, send_good

PATIENCE_S = 90.0

HANDLER = """
import time

@kaufmann.on("order.noted")
def noted(event):
    with open("runs", "a") as runs:
        runs.write(event.payload["id"] + "\\n")
    time.sleep(0.05)
    return Output("noted.handled", {"id": event.payload["id"]}, format="json")
"""
SERVICE = f"""
import os
from celery import Celery
from kaufmann_celery import Kaufmann, Output

celery = Celery("shop", broker=os.environ["BROKER_URL"])
kaufmann = Kaufmann("NAME", celery=celery)
{HANDLER}
"""
WITHOUT_A_BROKER = f"""
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery
{HANDLER}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with redis_cluster() as one:
        yield one


@pytest.fixture(scope="module")
def orders(
    stack: dict[str, str], cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scene, Commands]]:
    known = {**stack, "BROKER_URL": stack["KAUFMANN_REDIS_URL"], "KAUFMANN_REDIS_URL": cluster.url}
    directory = tmp_path_factory.mktemp("orders")
    with (
        scene(directory, known, SERVICE, name="cluster", schemas={"order.noted": GOOD}) as one,
        commands(one) as typed,
    ):
        typed.start_service("-c", "2")
        one.handled(*send_good(one, 2), name="good.handled", timeout_s=PATIENCE_S)
        yield one, typed


def sends(one: Scene, count: int) -> list[str]:
    ids = [unique("noted") for _ in range(count)]
    for at, each in enumerate(ids):
        one.send(b"order.noted", avro(GOOD, {"id": each}), partition=at % 2)
    return ids


def some_have_run(typed: Commands, ids: list[str]) -> None:
    eventually(lambda: len(set(ids) & set(typed.notes())) > 10, "some have run", PATIENCE_S, typed.has_died)


def handled_once(one: Scene, typed: Commands, ids: list[str]) -> None:
    one.handled(*ids, name="noted.handled", timeout_s=PATIENCE_S)
    one.kafka.await_all_committed(one.name, one.name, PATIENCE_S)
    runs = Counter(typed.notes())
    assert {each: runs[each] for each in ids} == dict.fromkeys(ids, 1)
    assert not typed.has_died()


def test_each_event_runs_once(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders

    handled_once(one, typed, sends(one, 200))


def test_status_reads_the_ledgers_wherever_they_are(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders

    said = typed.run("kaufmann", "-A", "service", "status", "--json")

    assert said.returncode == 0, said.stderr
    assert one.name in said.stdout
    assert json.loads(said.stdout)


@pytest.mark.timeout(600)
def test_each_node_may_die_and_come_back_and_each_event_runs_once(
    orders: tuple[Scene, Commands], cluster: Cluster
) -> None:
    one, typed = orders
    for number in range(len(cluster.nodes)):
        ids = sends(one, 150)
        some_have_run(typed, ids)
        with cluster.dead(number):
            ids += sends(one, 10)

        handled_once(one, typed, ids)


@pytest.mark.parametrize("command", [INGESTER, WORKER], ids=["ingester", "worker"])
def test_a_cluster_that_would_be_the_broker_too_is_refused(
    tmp_path: Path, stack: dict[str, str], cluster: Cluster, command: tuple[str, ...]
) -> None:
    known = {**stack, "KAUFMANN_REDIS_URL": cluster.url}
    with (
        scene(tmp_path, known, WITHOUT_A_BROKER, name="alone", schemas={}) as one,
        commands(one) as typed,
    ):
        ended = typed.run(*command)

    assert ended.returncode == 2
    assert "redis_url: a Redis Cluster holds the ledger only" in ended.stderr
