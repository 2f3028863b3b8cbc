from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaufmann_celery.local import pidfiles, process
from kaufmann_celery.local.process import ProcessRecord

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
Sleeper = Callable[[], subprocess.Popen[str]]


@pytest.fixture
def sleeper() -> Iterator[Sleeper]:
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        started.append(subprocess.Popen(["sleep", "60"], text=True))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.wait()


def record_of(pid: int) -> ProcessRecord:
    started = process.start_time(pid)
    assert started is not None
    return ProcessRecord(pid, started)


def test_a_running_process_is_alive(sleeper: Sleeper) -> None:
    assert record_of(sleeper().pid).alive


def test_a_process_that_reuses_the_pid_is_another_process() -> None:
    assert not ProcessRecord(os.getpid(), "another start").alive


def test_a_process_that_ended_is_not_alive_even_before_its_parent_noticed(sleeper: Sleeper) -> None:
    child = sleeper()
    record = record_of(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie

    assert not record.alive


def test_a_record_survives_its_file(tmp_path: Path) -> None:
    record = ProcessRecord(17, "12345", "16:12344")
    record.write(tmp_path / "process.json")

    assert ProcessRecord.read(tmp_path / "process.json") == record
    assert [path.name for path in tmp_path.iterdir()] == ["process.json"]


@pytest.mark.parametrize("text", ["", "17", "{}", '{"pid": 17, "colour": "red"}', '{"pid": 1'])
def test_a_damaged_pid_file_names_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "process.json").write_text(text)

    assert ProcessRecord.read(tmp_path / "process.json") is None


def test_ending_a_stale_record_leaves_the_process_with_its_pid_alone(sleeper: Sleeper) -> None:
    child = sleeper()

    process.end([ProcessRecord(child.pid, "another start")])

    assert child.poll() is None


def test_ending_asks_first(sleeper: Sleeper) -> None:
    child = sleeper()

    process.end([record_of(child.pid)])

    assert child.wait() == -signal.SIGTERM


def test_a_process_that_does_not_end_when_asked_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()

        process.end([record_of(child.pid)], patience_s=0.1)

        assert child.wait() == -signal.SIGKILL


def test_a_launched_process_is_nobodys_child_and_has_its_own_session(tmp_path: Path) -> None:
    record = launch(tmp_path, ["sleep", "60"])
    try:
        parent = subprocess.check_output(["ps", "-o", "ppid=", "-p", str(record.pid)], text=True)

        assert int(parent) != os.getpid()
        assert os.getsid(record.pid) != os.getsid(0)
    finally:
        process.end([record])


def test_what_a_launched_process_prints_is_added_to_its_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    record = launch(tmp_path, ["sh", "-c", "echo out; echo err >&2"])
    process.wait_for_end(record)

    assert (tmp_path / "log").read_text() == "before\nout\nerr\n"


def test_the_pid_is_on_disk_before_the_pid_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "redis" / "process.json"
    path.parent.mkdir()
    bare = pidfiles.launched_path(path)
    pid = process.launch(["sleep", "60"], directory=tmp_path, log=tmp_path / "log", env=os.environ, pid_file=bare)

    pidfiles.adopt(path, "the owner")  # as the guard does when the starter was killed right here

    record = ProcessRecord.read(path)
    assert record is not None
    assert (record.pid, record.owner) == (pid, "the owner")
    assert pidfiles.end_services(pidfiles.services(tmp_path).values(), owner="the owner") == ["redis"]


def test_what_belongs_to_another_owner_is_not_ended(tmp_path: Path, sleeper: Sleeper) -> None:
    child = sleeper()
    path = pidfiles.service_path(tmp_path, "redis")
    path.parent.mkdir()
    pidfiles.record_start(path, child.pid, "one owner")

    assert pidfiles.end_services([path], owner="another owner") == []
    assert child.poll() is None
    assert path.exists()


def test_waiting_ends_when_the_process_does(sleeper: Sleeper) -> None:
    child = sleeper()
    waiting = threading.Thread(target=process.wait_for_end, args=[record_of(child.pid)])
    waiting.start()
    assert waiting.is_alive()
    child.kill()

    waiting.join(10)

    assert not waiting.is_alive()


def test_waiting_for_a_process_that_reused_the_pid_ends_at_once(sleeper: Sleeper) -> None:
    process.wait_for_end(ProcessRecord(sleeper().pid, "another start"))


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    second_holds = threading.Event()

    def second() -> None:
        with process.locked(tmp_path / "lock"):
            second_holds.set()

    waiting = threading.Thread(target=second)
    with process.locked(tmp_path / "lock"):
        waiting.start()
        assert not second_holds.wait(0.2)
    waiting.join(10)

    assert second_holds.is_set()


def launch(directory: Path, command: list[str]) -> ProcessRecord:
    path = directory / "process.json"
    pid = process.launch(
        command,
        directory=directory,
        log=directory / "log",
        env=os.environ,
        pid_file=pidfiles.launched_path(path),
    )
    return pidfiles.record_start(path, pid, None)
