"""RabbitMQ as Celery's broker, the ledger in Redis: what holds on Redis alone holds there too."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator

import amqp
import pytest

from tests.integration.rabbitmq_server import RabbitMQ, rabbitmq
from tests.integration.scene import BLOCKING_HANDLERS, GOOD, Scene, avro, scene
from tests.integration.service_process import eventually, unique
from tests.integration.user_commands import INGESTER, ONE_WORKER, WORKER, Commands, commands, send_good

PATIENCE_S = 90.0

SERVICE = (
    """
import os, time
from pathlib import Path
from celery import Celery
from kaufmann_celery import Kaufmann, Output

celery = Celery("shop", broker=os.environ["AMQP_URL"])
celery.conf.broker_connection_max_retries = None
kaufmann = Kaufmann("NAME", celery=celery)

def note(*words):
    with open("runs", "a") as runs:
        runs.write(" ".join(map(str, words)) + "\\n")

@kaufmann.on("order.noted")
def noted(event):
    note("noted", event.payload["id"])
    time.sleep(0.01)
    return Output("noted.handled", {"id": event.payload["id"]}, format="json")

@kaufmann.on("order.slow", batch=1)
def slow(event):
    note("slow", event.payload["id"])
    time.sleep(4)
    return Output("slow.handled", {"id": event.payload["id"]}, format="json")

@kaufmann.on("order.deadly")
def deadly(event):
    note("deadly", event.attempt)
    os._exit(1)
"""
    + BLOCKING_HANDLERS
)
NAMES = ("noted", "slow", "blocking", "held", "deadly")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with rabbitmq(tmp_path_factory.mktemp("rabbitmq") / "node") as one:
        yield one


@pytest.fixture(scope="module")
def orders(
    stack: dict[str, str], broker: RabbitMQ, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scene, Commands]]:
    schemas = {f"order.{name}": GOOD for name in NAMES}
    directory = tmp_path_factory.mktemp("orders")
    known = {**stack, "AMQP_URL": broker.url}
    with (
        scene(directory, known, SERVICE, name="rabbit", schemas=schemas, settings={"lease": "3"}) as one,
        commands(one) as typed,
    ):
        # Before any worker has declared the queue.
        typed.start("ingester", *INGESTER)
        first = send_good(one, 2)
        eventually(lambda: waiting(broker, one) > 0, "the events wait in a queue", PATIENCE_S, typed.has_died)
        starts_worker(typed)
        one.handled(*first, name="good.handled", timeout_s=PATIENCE_S)
        yield one, typed


def starts_worker(typed: Commands) -> None:
    typed.start("worker", *WORKER, "-c", "2", "-l", "INFO")


def queue_of(one: Scene) -> str:
    return f"kaufmann.{one.name}"


def waiting(broker: RabbitMQ, one: Scene) -> int:
    with broker.channel() as channel:
        try:
            return int(channel.queue_declare(queue_of(one), passive=True).message_count)
        except amqp.NotFound:
            return 0


def sends(one: Scene, name: str, count: int) -> list[str]:
    ids = [unique(name) for _ in range(count)]
    for at, each in enumerate(ids):
        one.send(f"order.{name}".encode(), avro(GOOD, {"id": each}), partition=at % 2)
    return ids


def each_ran(typed: Commands, name: str, ids: list[str]) -> Counter[str]:
    runs = Counter(line.split()[1] for line in typed.notes() if line.split()[0] == name)
    return Counter({one: runs[one] for one in ids})


def each_answered_once(one: Scene, name: str, ids: list[str]) -> None:
    one.handled(*ids, name=f"{name}.handled", timeout_s=PATIENCE_S)
    one.kafka.await_all_committed(one.name, one.name, PATIENCE_S)


def test_each_event_runs_once(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    ids = sends(one, "noted", 300)

    each_answered_once(one, "noted", ids)
    assert each_ran(typed, "noted", ids) == Counter(ids)


def test_an_event_that_ends_its_process_becomes_an_error_event(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    position = one.send(b"order.deadly", avro(GOOD, {"id": "deadly"}))

    one.one_error_event(position, name="order.deadly", error_type="WorkerDied", attempts=3)
    assert [line for line in typed.notes() if line.startswith("deadly")] == ["deadly 1", "deadly 2", "deadly 3"]


def test_a_task_revoked_before_it_runs_makes_an_error_event(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    sends(one, "blocking", 2)
    eventually(lambda: typed.notes().count("blocking") == 2, "the worker is busy", PATIENCE_S, typed.has_died)
    position = one.send(b"order.held", avro(GOOD, {"id": "held"}))

    revoked = typed.run("celery", "-A", "service", "control", *ONE_WORKER, "revoke", f"order.held@{position}.1")
    (typed.directory / "go").touch()

    assert revoked.returncode == 0, revoked.stderr
    one.one_error_event(position, name="order.held", error_type="TaskRevokedError")
    assert "held" not in typed.notes()


def test_what_a_killed_worker_held_is_handled_by_the_next(orders: tuple[Scene, Commands]) -> None:
    one, typed = orders
    ids = sends(one, "slow", 4)
    eventually(lambda: sum(each_ran(typed, "slow", ids).values()) == 2, "two of them run", PATIENCE_S, typed.has_died)
    os.kill(typed.pid("worker"), signal.SIGKILL)
    typed.stop("worker")
    starts_worker(typed)

    each_answered_once(one, "slow", ids)


@pytest.mark.parametrize("loss", ["purged", "deleted"])
def test_what_the_broker_lost_is_sent_again(orders: tuple[Scene, Commands], broker: RabbitMQ, loss: str) -> None:
    one, typed = orders
    typed.stop("worker")
    ids = sends(one, "noted", 20)
    eventually(lambda: waiting(broker, one) > 0, "the events wait in the queue", PATIENCE_S, typed.has_died)
    with broker.channel() as channel:
        if loss == "purged":
            channel.queue_purge(queue_of(one))
        else:
            channel.queue_delete(queue_of(one))
    eventually(lambda: waiting(broker, one) > 0, "they were sent again", PATIENCE_S, typed.has_died)
    starts_worker(typed)

    each_answered_once(one, "noted", ids)
    assert each_ran(typed, "noted", ids) == Counter(ids)


def test_a_queue_that_is_deleted_while_the_worker_consumes_it_is_made_again(
    orders: tuple[Scene, Commands], broker: RabbitMQ
) -> None:
    one, typed = orders
    with broker.channel() as channel:
        channel.queue_delete(queue_of(one))
    ids = sends(one, "noted", 20)

    each_answered_once(one, "noted", ids)
    assert each_ran(typed, "noted", ids) == Counter(ids)
    assert not typed.has_died()


def test_a_broker_that_is_killed_and_comes_back_ends_nobody_and_each_event_runs_once(
    orders: tuple[Scene, Commands], broker: RabbitMQ
) -> None:
    one, typed = orders
    slow = sends(one, "slow", 3)
    eventually(lambda: sum(each_ran(typed, "slow", slow).values()) == 2, "two of them run", PATIENCE_S, typed.has_died)
    with broker.dead():
        noted = sends(one, "noted", 20)
    noted += sends(one, "noted", 20)

    each_answered_once(one, "slow", slow)
    each_answered_once(one, "noted", noted)
    assert each_ran(typed, "slow", slow) == Counter(slow)
    assert each_ran(typed, "noted", noted) == Counter(noted)
    assert not typed.has_died()
