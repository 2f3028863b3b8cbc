"""`kaufmann.publish` from any process: threads, forks, a task, a growing topic, a process' end, Kafka away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery import Kaufmann, Position, PublishError
from tests.integration.free_ports import free_ports
from tests.integration.kafka_topics import Bystander
from tests.integration.service_process import DEADLINE_S, eventually, unique
from tests.integration.tcp_proxy import silent_server
from tests.integration.user_commands import Commands

#: Seconds for a script, on a machine that does other things too.
SCRIPT_S = 90.0


@pytest.fixture
def kafka(stack: Mapping[str, str]) -> Iterator[Bystander]:
    with Bystander(stack["KAUFMANN_BROKERS"]) as one:
        yield one


@pytest.fixture
def topic(kafka: Bystander) -> str:
    return kafka.create(unique("published"))


def service(stack: Mapping[str, str], topic: str, **settings: Any) -> Kaufmann:
    urls = {name.removeprefix("KAUFMANN_").lower(): value for name, value in stack.items()}
    return Kaufmann("orders", **{**urls, "default_publish_topic": topic, **settings})


def publish(kaufmann: Kaufmann, number: object, **options: Any) -> Position:
    position = kaufmann.publish("order.noted", {"n": number}, format="json", **options)
    assert position is not None
    return position


def numbers(kafka: Bystander, topic: str) -> Counter[Any]:
    return Counter(json.loads(one.value or b"")["n"] for one in kafka.read(topic))


def test_many_threads_publish_at_once(stack: Mapping[str, str], kafka: Bystander, topic: str) -> None:
    kaufmann = service(stack, topic)
    with ThreadPoolExecutor(8) as threads:
        positions = list(threads.map(lambda number: publish(kaufmann, number), range(400)))

    assert len(set(positions)) == 400
    assert numbers(kafka, topic) == Counter(range(400))


def test_what_kafka_refuses_one_thread_harms_no_other(stack: Mapping[str, str], kafka: Bystander, topic: str) -> None:
    """Compressed, a record is found too large by the broker alone; kafka-python then refuses all that follows."""
    small = kafka.create(unique("small"), max_message_bytes=2000)
    kaufmann = service(stack, topic, kafka_options={"compression_type": "gzip"})

    def one(number: int) -> Position | None:
        if number % 10:
            return publish(kaufmann, number)
        with pytest.raises(PublishError, match="larger than the topic accepts"):
            publish(kaufmann, os.urandom(5000).hex(), topic=small)
        return None

    with ThreadPoolExecutor(8) as threads:
        positions = [one for one in threads.map(one, range(200)) if one]

    assert len(set(positions)) == 180
    assert numbers(kafka, topic) == Counter(number for number in range(200) if number % 10)


FORKING = """
import os, sys, threading
from kaufmann_celery import Kaufmann

kaufmann = Kaufmann("orders", default_publish_topic=sys.argv[1])
going_on = True


def publish(number):
    return kaufmann.publish("order.noted", {"n": number}, format="json")


def busy():
    number = 1000
    while going_on:
        publish(number)
        number += 1
    return number


publish("parent")
thread = threading.Thread(target=busy)
thread.start()
for number in range(20):
    child = os.fork()
    if not child:
        if number % 2:
            publish(number)
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
going_on = False
thread.join()
publish("after")
"""


def run(source: str, directory: Path, stack: Mapping[str, str], *arguments: str) -> str:
    """Run a script to its end, which must be a good and silent one; return what it said."""
    (directory / "script.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "script.py", *arguments], cwd=directory, env={**os.environ, **stack},
        capture_output=True, text=True, timeout=SCRIPT_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_fork_publishes_by_a_producer_of_its_own_and_leaves_its_parents_alone(
    stack: Mapping[str, str], kafka: Bystander, topic: str, tmp_path: Path
) -> None:
    """Its parent publishes in a thread meanwhile, as a web server may that loads its app before it forks."""
    run(FORKING, tmp_path, stack, topic)

    found = numbers(kafka, topic)
    assert {number: many for number, many in found.items() if many > 1} == {}
    assert {"parent", "after", *range(1, 20, 2)} <= set(found)
    assert not set(range(0, 20, 2)) & set(found)


TASK = """
import os
from kaufmann_celery import Kaufmann

kaufmann = Kaufmann("NAME", default_publish_topic="NAME", redis_prefix="NAME")
celery = kaufmann.celery


@celery.task(queue="NAME.tasks")
def note(number):
    kaufmann.publish("order.noted", {"n": number, "pid": os.getpid()}, format="json")
"""


def test_a_task_in_a_prefork_child_publishes(
    stack: Mapping[str, str], kafka: Bystander, topic: str, tmp_path: Path
) -> None:
    (tmp_path / "service.py").write_text(TASK.replace("NAME", topic))
    typed = Commands(tmp_path, {**os.environ, **stack})
    try:
        typed.start("worker", "celery", "-A", "service", "worker", "-c", "2", "-Q", f"{topic}.tasks")
        sender = "from service import note\nfor number in range(40): note.delay(number)\n"
        run(sender, tmp_path, stack)
        found = kafka.await_records(topic, lambda _: True, count=40, timeout_s=2 * DEADLINE_S)
    finally:
        print(typed.tails())
        typed.stop()

    assert numbers(kafka, topic) == Counter(range(40))
    assert len({json.loads(one.value or b"")["pid"] for one in found}) == 2


def test_a_process_that_ends_at_once_has_published(
    stack: Mapping[str, str], kafka: Bystander, topic: str, tmp_path: Path
) -> None:
    said = run(FORKING.partition('publish("parent")')[0] + 'print(publish("last"))', tmp_path, stack, topic)

    (found,) = kafka.read(topic)
    assert (said.strip(), json.loads(found.value or b"")["n"]) == (str(found.position), "last")


def test_a_partition_by_which_a_topic_has_grown_is_found_at_once(
    stack: Mapping[str, str], kafka: Bystander, topic: str
) -> None:
    kaufmann = service(stack, topic, partition_strategy="key")
    publish(kaufmann, 1)
    with pytest.raises(PublishError, match="has 2 partitions, none with number 3"):
        publish(kaufmann, 2, partition=3)
    kafka.grow(topic, 4)

    positions: list[Position] = []

    def is_found() -> bool:
        try:
            positions.append(publish(kaufmann, 3, partition=3))
        except PublishError:
            return False
        return True

    # As long as it is believed missing, and no longer.
    eventually(is_found, "the new partition", 10)
    assert positions[0].partition == 3
    assert {publish(kaufmann, key, key=f"k{key}").partition for key in range(40)} == {0, 1, 2, 3}


#: In a process of its own: kafka-python leaves sockets to be collected that never were connected.
AWAY = """
import json, logging, threading, time
from concurrent.futures import ThreadPoolExecutor
from kaufmann_celery import Kaufmann, PublishError

logging.disable()
kaufmann = Kaufmann("orders")


def publish(_):
    try:
        return kaufmann.publish("order.noted", {}, format=FORMAT)
    except PublishError as error:
        return str(error)


began = time.monotonic()
with ThreadPoolExecutor(6) as threads:
    errors = list(threads.map(publish, range(6)))
took = time.monotonic() - began
deadline = time.monotonic() + 10
while threading.active_count() > 1 and time.monotonic() < deadline:
    time.sleep(0.05)
print(json.dumps([took, threading.active_count(), errors]))
"""


class TestAway:
    """A clear error, in a bounded time, whatever number of threads wait; and nothing stays behind."""

    @pytest.fixture(params=["refused", "silent"])
    def broker(self, request: pytest.FixtureRequest) -> Iterator[str]:
        if request.param == "refused":
            yield f"127.0.0.1:{free_ports(1)[0]}"
        else:
            with silent_server() as port:
                yield f"127.0.0.1:{port}"

    def test_kafka(self, stack: Mapping[str, str], tmp_path: Path, broker: str) -> None:
        said = run(AWAY.replace("FORMAT", '"json"'), tmp_path, {**stack, "KAUFMANN_BROKERS": broker})
        took, threads, errors = json.loads(said)

        assert {error.partition("(")[0] for error in errors} == {"not acknowledged: Kafka does not answer "}
        assert all("check brokers" in error for error in errors)
        assert (took < 25, threads) == (True, 1)

    def test_the_registry(self, stack: Mapping[str, str], tmp_path: Path, broker: str) -> None:
        away = {**stack, "KAUFMANN_SCHEMA_REGISTRY_URL": f"http://{broker}"}
        took, _, errors = json.loads(run(AWAY.replace("FORMAT", "None"), tmp_path, away))

        assert {error.partition("(")[0] for error in errors} == {"not published: the schema registry does not answer "}
        assert all("schema_registry_url" in error for error in errors)
        assert took < 25
