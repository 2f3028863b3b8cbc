"""G7, order: by key, by partition and with `max_demand=1`; across failures, retries, deaths and rebalances."""

from __future__ import annotations

import os
import random
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import redis

from kaufmann_celery.registry.client import SchemaRegistry
from tests.integration.jobs import RECOVERY_S, SERVICE, jobs
from tests.integration.kafka_topics import Bystander
from tests.integration.own_services import OwnServices
from tests.integration.service_process import ROLES, Service, eventually, service, unique
from tests.integration.test_g6_max_demand import _PLACED, _produce, _register

_EVENTS = 300
_PARTITIONS = 4
_KEYS = 12

_ONE_BY_ONE = """
import os
import time
from kaufmann_celery import Event, Kaufmann

kaufmann = Kaufmann("{name}", max_demand=1)
celery = kaufmann.celery


@kaufmann.on("order.placed")
def note(event: Event):
    start = time.monotonic_ns()
    time.sleep(0.002)
    with open("runs", "a") as runs:
        runs.write(f"{{event.offset}} {{start}} {{time.monotonic_ns()}} {{os.getpid()}}\\n")
"""

#: What the event's value asks for happens at its first run.
_IN_LANES = """
import os
import time
from kaufmann_celery import Event, Kaufmann, Retry

kaufmann = Kaufmann("{name}")
celery = kaufmann.celery


def write(*fields):
    file = os.open("{journal}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, (" ".join(map(str, fields)) + "\\n").encode())
    os.close(file)


@kaufmann.on("order.placed", "order.paid", max_retries=3, retry_backoff=0.2, autoretry_for=(LookupError,))
def note(event: Event):
    wanted = event.payload["order_id"]
    write("start", event.partition, event.offset, event.key, event.attempt, time.monotonic_ns())
    time.sleep(0.003)
    if event.attempt == 1:
        if wanted == "dies":
            os._exit(3)
        if wanted == "again":
            raise LookupError
    if wanted == "fails":
        raise ValueError
    write("end", event.partition, event.offset, event.key, event.attempt, time.monotonic_ns())
"""

_BROKER_APART = SERVICE.replace(
    'Kaufmann("NAME")', 'Kaufmann("NAME", celery=Celery(broker=os.environ["BROKER_URL"]))'
).replace("from celery import", "from celery import Celery,")


@dataclass(frozen=True)
class Ran:
    """One run of the handler; `end` is None where it failed or died."""

    partition: int
    offset: int
    key: str
    attempt: int
    start: int
    end: int | None


def test_with_max_demand_1_two_workers_run_events_in_order_and_never_two_at_once(
    stack: dict[str, str], tmp_path: Path
) -> None:
    name = unique("sequence")
    _register(stack)
    with (
        Bystander(stack["KAUFMANN_BROKERS"]) as kafka,
        service(tmp_path, stack, _ONE_BY_ONE.format(name=name), name=name, settings={}) as running,
        service(tmp_path, stack, _ONE_BY_ONE.format(name=name), name=f"{name}-2", settings={}) as second,
    ):
        kafka.create(name, 1)
        _produce(stack["KAUFMANN_BROKERS"], name, 0)
        for number in range(_EVENTS):
            kafka.send(name, b"order.placed", _value(str(number)))
        running.start(*ROLES)
        second.start("worker")
        eventually(lambda: len(running.runs()) >= _EVENTS, "all events run", 120, running.has_died)
        kafka.await_all_committed(name, name)

    runs = [tuple(map(int, line.split())) for line in running.runs()]
    assert [offset for offset, *_ in runs] == list(range(_EVENTS))
    assert all(before[2] <= after[1] for before, after in pairwise(runs))
    assert len({pid for *_, pid in runs}) > 1


@pytest.mark.parametrize("ordering", ["key", "partition"])
def test_a_lane_keeps_its_order_through_failures_retries_and_deaths(
    stack: dict[str, str], tmp_path: Path, ordering: str
) -> None:
    def undisturbed(*_: Service) -> None:
        pass

    runs = _run(stack, tmp_path, ordering, undisturbed, odd=("dies", "again", "again", "fails"))

    assert _out_of_order(runs, ordering) == []
    assert {run.attempt for run in runs} >= {1, 2}
    if ordering == "key":
        assert _overlaps(runs) > 0, "lanes run beside one another"


@pytest.mark.parametrize("ordering", ["key", pytest.param("partition", marks=pytest.mark.soak)])
def test_a_lane_keeps_its_order_across_rebalances_and_the_death_of_ingester_and_worker(
    stack: dict[str, str], tmp_path: Path, ordering: str
) -> None:
    def disturbed(first: Service, second: Service) -> None:
        def has_run(events: int) -> None:
            eventually(lambda: len(first.runs()) >= events, f"{events} lines of the journal", 90)

        has_run(60)
        second.start("ingester")
        has_run(160)
        os.killpg(first.pid("ingester"), signal.SIGKILL)
        first.stop("ingester")
        first.start("ingester")
        has_run(260)
        os.killpg(first.pid("worker"), signal.SIGKILL)
        first.stop("worker")
        first.start("worker")
        has_run(360)
        second.stop("ingester")

    runs = _run(stack, tmp_path, ordering, disturbed, odd=("again",))

    assert _out_of_order(runs, ordering) == []


def test_a_lane_keeps_its_order_where_redis_lost_its_data_and_celerys_broker_did_not(
    stack: dict[str, str], tmp_path: Path
) -> None:
    """The task of the second event outlives the ledger in which the first was finished."""
    settings = {"ordering": "partition", "commit_interval": "600"}
    with (
        OwnServices(tmp_path / "redis", "redis") as own,
        jobs(tmp_path, {**stack, "BROKER_URL": stack["KAUFMANN_REDIS_URL"], **own.settings}, _BROKER_APART,
             name="lane", settings=settings) as service,
        redis.Redis.from_url(stack["KAUFMANN_REDIS_URL"]) as broker,
        redis.Redis.from_url(own.settings["KAUFMANN_REDIS_URL"]) as ledger,
    ):  # fmt: skip

        def waiting() -> int:
            return int(broker.llen(f"kaufmann.{service.name}"))

        service.ingester()
        service.worker()
        (first,) = service.ask(act="sleep 1", partition=0)
        service.scene.handled(first, name="job.done", timeout_s=RECOVERY_S)
        service.typed.stop("worker")
        (second,) = service.ask(act="sleep 1", partition=0)
        eventually(lambda: waiting() == 1, "the second is sent", RECOVERY_S)
        service.typed.kill("ingester")
        ledger.flushall()
        service.ingester("successor", KAUFMANN_COMMIT_INTERVAL="0.3")
        eventually(lambda: waiting() > 1, "what is claimed anew is sent", RECOVERY_S)
        service.worker("worker-2")
        service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)

        begun, ended = service.runs(), service.runs("end")
        assert [run.id for run in begun] == [first, first, second]
        assert [run.id for run in ended] == [first, first, second]
        assert ended[1].at <= begun[2].at


def test_what_kept_its_order_could_have_lost_it() -> None:
    """The check itself: it finds the next of a lane that starts too early, and one that comes out of turn."""
    first, second = Ran(0, 1, "a", 1, 10, 20), Ran(0, 2, "a", 1, 15, 25)
    again = Ran(0, 1, "a", 2, 30, 40)

    assert _out_of_order([first, second], "key") == [(first, second)]
    assert _out_of_order([first, Ran(0, 2, "a", 1, 21, 25), again], "key") != []
    assert _out_of_order([first, Ran(0, 2, "b", 1, 15, 25)], "key") == []
    assert _out_of_order([first, Ran(0, 2, "b", 1, 15, 25)], "partition") != []


def _run(
    stack: dict[str, str],
    directory: Path,
    ordering: str,
    disturb: Callable[[Service, Service], None],
    odd: Sequence[str],
) -> list[Ran]:
    """Run events of two names, one in ten of them odd; return all runs once everything is committed."""
    name, draw = unique(f"by-{ordering}"), random.Random(7)
    source, settings = (
        _IN_LANES.format(name=name, journal=directory / "runs"),
        {"ordering": ordering, "error_topic": f"{name}.errors"},
    )
    for event in ("order.placed", "order.paid"):
        SchemaRegistry([stack["KAUFMANN_SCHEMA_REGISTRY_URL"]]).register(event, _PLACED)
    (directory / "second").mkdir()
    with (
        Bystander(stack["KAUFMANN_BROKERS"]) as kafka,
        service(directory, stack, source, name=name, settings=settings) as first,
        service(directory / "second", stack, source, name=f"{name}-2", settings=settings) as second,
    ):
        kafka.create(name, _PARTITIONS)
        kafka.create(f"{name}.errors")
        for number in range(_EVENTS):
            key = draw.randrange(_KEYS)
            event, wanted = draw.choice(["order.placed", "order.paid"]), odd[number // 10 % len(odd)]
            value = _value(wanted if number % 10 == 5 else "good")
            kafka.send(name, f"{event}#k{key}".encode(), value, partition=key % _PARTITIONS)
        first.start(*ROLES)
        second.start("worker")
        disturb(first, second)
        kafka.await_all_committed(name, name, timeout_s=120)
        return _runs(first.runs())


def _value(text: str) -> bytes:
    return bytes([2 * len(text)]) + text.encode()


def _runs(lines: Iterable[str]) -> list[Ran]:
    moments: dict[str, dict[tuple[str, ...], int]] = {"start": {}, "end": {}}
    for line in lines:
        what, *run, at = line.split()
        assert tuple(run) not in moments[what], "one attempt ran twice"
        moments[what][tuple(run)] = int(at)
    ends = moments["end"]
    return [
        Ran(int(run[0]), int(run[1]), run[2], int(run[3]), start, ends.get(run))
        for run, start in moments["start"].items()
    ]


def _out_of_order(runs: Iterable[Ran], ordering: str) -> list[tuple[Ran, Ran]]:
    """Return what follows one another in a lane wrongly: started before the other's end, or of a lower offset."""
    lanes: dict[tuple[int, str], list[Ran]] = defaultdict(list)
    for run in sorted(runs, key=lambda one: one.start):
        lanes[run.partition, run.key if ordering == "key" else ""].append(run)
    return [
        (before, after)
        for lane in lanes.values()
        for before, after in pairwise(lane)
        if after.offset < before.offset or (before.end is not None and after.start < before.end)
    ]


def _overlaps(runs: Sequence[Ran]) -> int:
    inside = sorted(runs, key=lambda one: one.start)
    return sum(before.end is not None and after.start < before.end for before, after in pairwise(inside))
