"""A Redis that is killed and comes back ends no worker, in whatever pool, and what ran meanwhile reports once."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaufmann_celery.local import LocalStack
from tests.integration.redis_servers import connected
from tests.integration.scene import GOOD, Scene, avro, scene
from tests.integration.service_process import eventually, unique
from tests.integration.user_commands import Commands, commands, send_good

#: Seconds from Redis' return until a worker has handled something new.
BACK_AT_WORK_S = 15.0
#: For Kafka's clients and a busy machine.
PATIENCE_S = 90.0
OUTAGES = 3

HANDLER = """
import time
from pathlib import Path

def note(*words):
    with Path("runs").open("a") as file:
        file.write(" ".join(words) + "\\n")

@kaufmann.on("order.slow", batch=1)
def slow(event):
    note(event.payload["id"])
    time.sleep(5)
    return Output("slow.handled", {"id": event.payload["id"]}, format="json")
"""
OWN_APP = f"""
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery
{HANDLER}
"""
YOUR_APP = f"""
import os
from celery import Celery
from kaufmann_celery import Kaufmann, Output

celery = Celery("shop", broker=os.environ["KAUFMANN_REDIS_URL"])
celery.conf.task_acks_late = True
kaufmann = Kaufmann("NAME", celery=celery)
{HANDLER}
"""


class MortalRedis:
    """A Redis of this test's own, which keeps its data."""

    def __init__(self, directory: Path) -> None:
        self._stack = LocalStack(directory, services=("redis",))
        self.url = self._up()

    def _up(self) -> str:
        return self._stack.up(owner_pid=os.getpid())["KAUFMANN_REDIS_URL"]

    @contextmanager
    def dead(self) -> Iterator[None]:
        """Kill it for the length of the block."""
        (status,) = self._stack.status()
        assert status.pid is not None
        os.kill(status.pid, signal.SIGKILL)
        try:
            yield
        finally:
            assert self._up() == self.url

    def down(self) -> None:
        self._stack.down()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[MortalRedis]:
    one = MortalRedis(tmp_path / "redis")
    try:
        yield one
    finally:
        one.down()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("source", "flags", "at_once"),
    [
        (OWN_APP, ("-P", "prefork", "-c", "3"), 3),
        (OWN_APP, ("-P", "threads", "-c", "3"), 3),
        (OWN_APP, ("-P", "solo"), 1),
        pytest.param(YOUR_APP, ("-P", "prefork", "-c", "3"), 3, marks=pytest.mark.soak),
        pytest.param(YOUR_APP, ("-P", "threads", "-c", "3"), 3, marks=pytest.mark.soak),
    ],
    ids=["prefork", "threads", "solo", "an app of yours, prefork", "an app of yours, threads"],
)
def test_the_worker_goes_on_and_what_ran_meanwhile_reports_once(
    tmp_path: Path, stack: dict[str, str], redis: MortalRedis, source: str, flags: tuple[str, ...], at_once: int
) -> None:
    settings = {**stack, "KAUFMANN_REDIS_URL": redis.url}
    with (
        scene(tmp_path, settings, source, name="outlives", schemas={"order.slow": GOOD}) as one,
        commands(one) as typed,
    ):
        typed.start_service(*flags, "-l", "INFO")
        one.handled(*send_good(one, 2), name="good.handled", timeout_s=PATIENCE_S)
        slow, good = [], []
        for _ in range(OUTAGES):
            slow += some_run(one, typed, at_once)
            with redis.dead():
                good += send_good(one, 20)
                passes(2.0)
            returned = time.monotonic()
            new = send_good(one, 5)
            one.handled(*new, name="good.handled", timeout_s=PATIENCE_S)
            assert time.monotonic() - returned < BACK_AT_WORK_S
            one.handled(*slow, name="slow.handled", timeout_s=PATIENCE_S)
            good += new
        one.kafka.await_all_committed(one.name, one.name, PATIENCE_S)

        assert not typed.has_died()
        assert Counter(typed.notes()) == Counter(slow)
        written = Counter(found.key for found in one.kafka.read(one.out))
        assert written == {b"slow.handled": len(slow), b"good.handled": len(good) + 2}
        assert "Unrecoverable" not in typed.log("worker")


def test_a_redis_that_is_full_ends_no_worker_of_an_app_of_our_own(
    tmp_path: Path, stack: dict[str, str], redis: MortalRedis
) -> None:
    settings = {**stack, "KAUFMANN_REDIS_URL": redis.url}
    with (
        scene(tmp_path, settings, OWN_APP, name="full", schemas={"order.slow": GOOD}) as one,
        commands(one) as typed,
        connected(redis.url) as server,
    ):
        typed.start_service("-P", "prefork", "-c", "1", "-l", "INFO")
        one.handled(*send_good(one, 2), name="good.handled", timeout_s=PATIENCE_S)
        slow = [*some_run(one, typed, 1), *some_run(one, typed, 0)]
        server.client.config_set("maxmemory", 1)
        try:
            # What it takes from the queue it cannot note down as taken.
            eventually(lambda: "OutOfMemoryError" in typed.log("worker"), "the worker meets it", PATIENCE_S)
        finally:
            server.client.config_set("maxmemory", 0)
        one.handled(*slow, name="slow.handled", timeout_s=PATIENCE_S)
        one.kafka.await_all_committed(one.name, one.name, PATIENCE_S)

        assert not typed.has_died()
        assert Counter(typed.notes()) == Counter(slow)


def some_run(one: Scene, typed: Commands, at_once: int) -> list[str]:
    """Send one slow event more than run at once; return their ids when the worker holds the last of them unstarted.

    That is when a Redis that dies ended Celery's own consumer: it held a message, and waited for another.
    """
    received = received_by(typed)
    ids = [unique("slow") for _ in range(at_once + 1)]
    for each in ids:
        one.send(b"order.slow", avro(GOOD, {"id": each}))
    eventually(
        lambda: received_by(typed) >= received + at_once,
        "the worker has the slow events", PATIENCE_S, typed.has_died,
    )  # fmt: skip
    eventually(lambda: len(set(ids) & set(typed.notes())) >= at_once, "as many run as can", PATIENCE_S)
    passes(0.5)
    return ids


def passes(seconds: float) -> None:
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() > until, "time passes", seconds + PATIENCE_S)


def received_by(typed: Commands) -> int:
    return len(re.findall(r"Task event:order\.slow\[.*\] received", typed.log("worker")))
