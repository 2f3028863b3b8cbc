"""An ingester that hangs dumps its stacks and ends, so that its supervisor starts another; one that waits does not."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.integration.jobs import JOB, RECOVERY_S, SERVICE, Jobs, jobs
from tests.integration.own_services import OwnServices
from tests.integration.registry_proxy import RegistryProxy
from tests.integration.scene import avro
from tests.integration.service_process import eventually
from tests.integration.tcp_proxy import silent_server

#: The ingester's limit in these tests, in seconds. One wait for Redis or the registry takes 5.
_LIMIT_S = 8.0

_LIMITED = (
    SERVICE
    + f"""
from kaufmann_celery import pulse

pulse.LIMIT_S = {_LIMIT_S}
"""
)
#: Three ways to hang once the file `hang` is there: a C call that keeps the GIL, a call to Redis in the loop and one to
#: Kafka in the consumer's thread that never return.
_HANGING = (
    _LIMITED
    + """
import threading
from kafka import KafkaConsumer
from kaufmann_celery.ledger.lines import Lines

def hangs(where):
    return os.environ.get("HANGS") == where and Path("hang").exists()


def stuck(where, call):
    def called(*args, **options):
        if hangs(where):
            threading.Event().wait()
        return call(*args, **options)
    return called


def keep_the_gil():
    while not hangs("gil"):
        time.sleep(0.05)
    ctypes.PyDLL(None).sleep(600)


Lines.send = stuck("loop", Lines.send)
KafkaConsumer.poll = stuck("consumer", KafkaConsumer.poll)
if os.environ.get("HANGS") == "gil":
    threading.Thread(target=keep_the_gil, daemon=True).start()
"""
)


@pytest.mark.parametrize("where", ["gil", "loop", "consumer"])
def test_an_ingester_that_hangs_ends_with_its_stacks_and_the_next_one_goes_on(
    stack: dict[str, str], tmp_path: Path, where: str
) -> None:
    with jobs(tmp_path, stack, _HANGING, name="hang") as service:
        before = service.ask(20)
        service.worker()
        service.ingester(HANGS=where)
        service.done(*before)
        running = service.ask(10, "sleep 0.5")
        service.await_runs(running)
        (tmp_path / "hang").touch()
        since = time.monotonic()
        ended = service.typed.exit_code("ingester", RECOVERY_S)
        hung_s = time.monotonic() - since
        stacks = service.typed.log("ingester").partition("most recent call first")[2]

        assert ended == 1
        assert ("in keep_the_gil" if where == "gil" else "in called") in stacks
        assert _LIMIT_S / 2 < hung_s < 3 * _LIMIT_S
        service.ingester("second")
        service.done(*running)
        service.ran_once(*before, *running)


@pytest.mark.parametrize("part", ["Redis", "Kafka"])
def test_a_server_that_takes_connections_and_never_answers_is_waited_for(
    stack: dict[str, str], tmp_path: Path, part: str
) -> None:
    with silent_server() as port:
        settings = {
            "Redis": {"redis_url": f"redis://127.0.0.1:{port}/0"},
            "Kafka": {
                "brokers": f"127.0.0.1:{port}",
                "kafka_options": json.dumps({"request_timeout_ms": 3000, "bootstrap_timeout_ms": 3000}),
            },
        }[part]
        with jobs(tmp_path, stack, _LIMITED, name="silent", settings=settings) as service:
            service.ask(10)
            service.ingester()
            lives_on(service, part)


def lives_on(service: Jobs, part: str, *, since: int = 0) -> None:
    """Check that the ingester says that *part* does not answer, and lives for three times the limit."""
    says = f"{part} does not answer"
    eventually(lambda: says in service.typed.log("ingester")[since:], says, RECOVERY_S, service.typed.has_died)
    until = time.monotonic() + 3 * _LIMIT_S
    eventually(lambda: time.monotonic() > until, "it lives on", 4 * _LIMIT_S, service.typed.has_died)


def test_an_ingester_whose_every_call_waits_lives_on(stack: dict[str, str], tmp_path: Path) -> None:
    """14 partitions, each of which waits for Redis longer than half the limit."""
    settings = {"subscription_topics": "NAME,NAME.more"}
    with (
        OwnServices(tmp_path / "redis", "redis") as own,
        jobs(tmp_path, {**stack, **own.settings}, _LIMITED, name="slow", settings=settings) as service,
    ):
        service.scene.kafka.create(f"{service.name}.more", 12)
        ids = service.ask(20)
        service.worker()
        service.ingester()
        service.done(*ids)
        since = len(service.typed.log("ingester"))
        with own.frozen("redis"):
            lives_on(service, "Redis", since=since)
        more = service.ask(20)
        service.done(*more)
        service.ran_once(*ids, *more)


@pytest.mark.soak
def test_an_ingester_that_waits_for_the_registry_in_every_partition_lives_on(
    stack: dict[str, str], tmp_path: Path
) -> None:
    with (
        RegistryProxy(stack["KAUFMANN_SCHEMA_REGISTRY_URL"]) as proxy,
        jobs(
            tmp_path, stack, _LIMITED, name="slow",
            settings={"subscription_topics": "NAME,NAME.more", "schema_registry_url": proxy.url},
        ) as service,
    ):  # fmt: skip
        topic = service.scene.kafka.create(f"{service.name}.more", 12)
        service.worker()
        service.ingester()
        with proxy.away("hang"):
            for partition in range(12):
                value = avro(JOB, {"id": str(partition), "act": ""})
                service.scene.kafka.send(topic, b"job.asked", value, partition=partition)
            lives_on(service, "the schema registry")
        service.scene.handled(*map(str, range(12)), name="job.done", timeout_s=RECOVERY_S)
