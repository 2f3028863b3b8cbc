from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import LocalStack, ports, process, services
from kaufmann_celery.local.commands import local
from kaufmann_celery.local.process import ProcessRecord


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_a_chosen_port_is_free_and_below_those_of_outgoing_connections() -> None:
    port = ports.choose(set())

    assert ports.is_free(port)
    assert 20_000 <= port < 32_000


def test_a_chosen_port_is_none_of_those_taken() -> None:
    only = 31_999
    assert ports.choose(set(range(20_000, only))) == only


def test_variables_that_would_reconfigure_a_service_are_not_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("JAVA_TOOL_OPTIONS", "QUARKUS_HTTP_PORT", "APICURIO_STORAGE_KIND", "CLASSPATH"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANG", "C.UTF-8")

    passed_on = services.environment()

    assert passed_on["LANG"] == "C.UTF-8"
    assert not {"JAVA_TOOL_OPTIONS", "QUARKUS_HTTP_PORT", "APICURIO_STORAGE_KIND", "CLASSPATH"} & set(passed_on)


def test_an_unknown_service_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=r"Unknown service: mysql\. There are: kafka, redis, registry"):
        LocalStack(tmp_path, services=["redis", "mysql"])


def test_looking_at_a_stack_that_never_was_up_creates_nothing(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path / "stack")

    assert [(one.name, one.state) for one in stack.status()] == [
        ("kafka", "stopped"),
        ("redis", "stopped"),
        ("registry", "stopped"),
    ]
    assert (stack.down(), stack.plan_reset(), stack.reset()) == ([], [], [])
    assert not (tmp_path / "stack").exists()


def test_the_settings_of_a_stack_that_is_not_up_are_an_error_that_says_how_to_start_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(LocalStackError, match="kaufmann local up"):
        LocalStack(tmp_path).env()


def test_a_directory_with_someone_elses_data_is_neither_used_nor_reset(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "dump.rdb").touch()
    stack = LocalStack(tmp_path, services=["redis"])

    with pytest.raises(LocalStackError, match="not a stack's"):
        stack.up()

    assert stack.reset() == []
    assert [path.name for path in tmp_path.rglob("*")] == ["redis", "dump.rdb"]


def test_an_up_waits_for_another_whose_directory_is_half_made(tmp_path: Path) -> None:
    stack = LocalStack(tmp_path, services=[])
    with ThreadPoolExecutor(1) as pool:
        with process.locked(tmp_path / "lock"):
            (tmp_path / "redis").mkdir()
            second = pool.submit(stack.up)
            with pytest.raises(TimeoutError):
                second.result(0.3)
            (tmp_path / "stack.json").write_text('{"ports": {"redis": {"port": 20001}}}')

        assert second.result(10) == {}
    assert json.loads((tmp_path / "stack.json").read_text())["ports"]["redis"] == {"port": 20_001}


def test_an_up_that_was_killed_in_the_middle_of_that_can_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "redis").mkdir()

    assert LocalStack(tmp_path, services=[]).up() == {}


def test_a_damaged_memory_of_ports_is_named(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(LocalStackError, match=r"stack\.json is damaged: delete it"):
        LocalStack(tmp_path, services=["redis"]).up()


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalStackError, match="Cannot write to"):
        LocalStack(tmp_path / "file" / "stack").up()


def test_a_service_whose_process_is_gone_died(tmp_path: Path) -> None:
    stack = stack_with_record(tmp_path, ProcessRecord(os.getpid(), "another start"))

    assert [(one.state, one.pid, one.address) for one in stack.status()] == [("died", None, None)]
    with pytest.raises(LocalStackError, match="redis died"):
        stack.env()


def test_stopping_after_a_crash_forgets_the_pid_and_stops_nobody(tmp_path: Path) -> None:
    stack = stack_with_record(tmp_path, ProcessRecord(os.getpid(), "another start"))

    assert stack.down() == []
    assert [one.state for one in stack.status()] == ["stopped"]


def test_the_plan_of_a_reset_changes_nothing(tmp_path: Path) -> None:
    stack_with_record(tmp_path, ProcessRecord(os.getpid(), "another start"))

    shown = CliRunner().invoke(local, ["reset", "--directory", str(tmp_path)])

    assert shown.exit_code == 0
    assert shown.output == f"would delete {tmp_path / 'redis'}\nnothing was changed: add --execute\n"
    assert (tmp_path / "redis").exists()


def test_a_reset_keeps_the_choice_of_ports(tmp_path: Path) -> None:
    stack_with_record(tmp_path, ProcessRecord(os.getpid(), "another start"))
    done = CliRunner().invoke(local, ["reset", "--directory", str(tmp_path), "--execute"])

    assert done.output == f"deleted {tmp_path / 'redis'}\n"
    assert not (tmp_path / "redis").exists()
    assert json.loads((tmp_path / "stack.json").read_text())["ports"]["redis"] == {"port": 20_001}


def test_an_unknown_service_on_the_command_line_is_a_usage_error() -> None:
    assert CliRunner().invoke(local, ["up", "--only", "mysql"]).exit_code == 2


def test_a_command_that_fails_exits_with_1_and_says_why(tmp_path: Path) -> None:
    failed = CliRunner().invoke(local, ["env", "--directory", str(tmp_path)])

    assert failed.exit_code == 1
    assert "No stack is up" in failed.output


def test_the_status_as_json_has_one_object_per_service(tmp_path: Path) -> None:
    shown = CliRunner().invoke(local, ["status", "--json", "--directory", str(tmp_path)])

    assert json.loads(shown.stdout)[1] == {
        "name": "redis",
        "state": "stopped",
        "pid": None,
        "address": None,
        "log": str(tmp_path / "redis" / "redis.log"),
    }


def test_the_commands_load_neither_celery_nor_a_kafka_client() -> None:
    code = "import sys, kaufmann_celery.local.commands; print(*{'celery', 'kafka', 'jgo'} & set(sys.modules))"

    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def stack_with_record(directory: Path, record: ProcessRecord) -> LocalStack:
    (directory / "redis").mkdir()
    record.write(directory / "redis" / "process.json")
    (directory / "stack.json").write_text(json.dumps({"ports": {"redis": {"port": 20_001}}}))
    return LocalStack(directory, services=["redis"])
