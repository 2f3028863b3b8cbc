from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaufmann_celery import Kaufmann
from kaufmann_celery.cli import cli, failed_events
from kaufmann_celery.event import Position
from kaufmann_celery.operations.replay import Candidate
from tests.unit.cli_module import ServiceModule

_SERVICE = """
    from kaufmann_celery import Kaufmann

    kaufmann = Kaufmann("orders", redis_url="redis://:s3cret@redis.invalid:6379/0")
    celery = kaufmann.celery

    @kaufmann.on("order.placed", queue="fast")
    def confirm(event):
        pass

    @kaufmann.on("order.*")
    def other(event):
        pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceModule:
    """A directory in which a test writes its service."""
    return ServiceModule(tmp_path, monkeypatch)


def run(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(cli, arguments, env=env, prog_name="kaufmann")


def test_help_lists_the_commands_and_ends_with_examples() -> None:
    result = run("--help")

    assert result.exit_code == 0
    for command in ("ingester", "publish", "events", "status", "config", "handlers", "migrate-schemas", "local"):
        assert f"\n  {command} " in result.output
    assert 'kaufmann -A service publish order.placed --payload \'{"order_id": "17"}\'' in result.output


def test_help_of_status_explains_each_column_in_a_line() -> None:
    lines = run("status", "--help").output.splitlines()

    for column in (
        "PARTITION", "OWNER", "COMMITTED", "END", "LAG", "OUTSTANDING", "RUNNING", "WAITING", "ABOVE", "BLOCKED BY",
    ):  # fmt: skip
        assert [line for line in lines if line.startswith(f"    {column} ") and len(line) > 30], column


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["local", "--help"], ["ingester", "--help"]])
def test_what_needs_no_service_imports_neither_celery_nor_kafka(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from kaufmann_celery.cli import cli\n"
        f"cli({arguments!r}, standalone_mode=False)\n"
        "sys.exit(sorted({'celery', 'kafka', 'redis'} & set(sys.modules)) or 0)\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "config", "handlers", "status", "events", "migrate-schemas", "errors list", "errors show", "local status",
        "local env",
    ],
)  # fmt: skip
def test_a_command_that_reads_takes_json(command: str) -> None:
    assert "--json" in run(*command.split(), "--help").stdout


def test_a_command_without_an_app_is_wrong_usage() -> None:
    result = run("config", APP="", CELERY_APP="")

    assert result.exit_code == 2
    assert "Give -A module, or set APP" in result.stderr


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nosuchpackage", "No module named 'nosuchpackage' ({name}.py:1)"),
        ("x = {}['key']", "KeyError: 'key' ({name}.py:1)"),
        ("def (", "invalid syntax"),
        ("import celery; app = celery.Celery('plain')", "has no Kaufmann service"),
        ("x = 1", "cannot load -A {name}"),
    ],
)
def test_a_module_that_is_no_service_is_wrong_usage(module: ServiceModule, source: str, said: str) -> None:
    name = module.write(source)

    result = run("-A", name, "config")

    assert result.exit_code == 2
    assert said.format(name=name) in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_module_is_wrong_usage(module: ServiceModule) -> None:
    result = run("-A", "nosuchservice", "config")

    assert result.exit_code == 2
    assert "cannot load -A nosuchservice: ModuleNotFoundError: No module named 'nosuchservice'" in result.stderr


@pytest.mark.parametrize("attribute", ["", ":celery"])
def test_the_app_is_found_by_module_or_attribute(module: ServiceModule, attribute: str) -> None:
    result = run("-A", module.write(_SERVICE) + attribute, "handlers", "--json")

    assert result.exit_code == 0
    assert [one["event"] for one in json.loads(result.stdout)] == ["order.placed", "order.*"]


@pytest.mark.parametrize("variable", ["APP", "CELERY_APP"])
def test_the_app_is_found_by_a_variable(module: ServiceModule, variable: str) -> None:
    others = {"APP", "CELERY_APP"} - {variable}

    result = run("handlers", **dict.fromkeys(others, ""), **{variable: module.write(_SERVICE)})

    assert result.exit_code == 0, result.stderr


def test_every_fault_of_the_settings_is_reported_together(module: ServiceModule) -> None:
    name = module.write(_SERVICE)

    result = run("-A", name, "ingester", KAUFMANN_LEASE="soon", KAUFMANN_MAX_DEMAND="0")

    assert result.exit_code == 2
    assert "lease: must be a number of seconds, got 'soon' (from KAUFMANN_LEASE)" in result.stderr
    assert "max_demand: must be at least 1" in result.stderr
    assert "Traceback" not in result.stderr


def test_topics_and_group_of_the_ingester_are_checked_as_settings(module: ServiceModule) -> None:
    result = run("-A", module.write(_SERVICE), "ingester", "--topics", "one,t w o", "--group", "a b")

    assert result.exit_code == 2
    assert "subscription_topics: must be" in result.stderr
    assert "consumer_group: must be" in result.stderr


def test_a_name_that_is_registered_twice_is_a_fault_of_the_settings(module: ServiceModule) -> None:
    result = run("-A", module.write(_SERVICE + '    kaufmann.on("order.placed")(confirm)\n'), "handlers")

    assert result.exit_code == 2
    assert "order.placed is registered twice" in result.stderr


def test_config_shows_each_value_with_its_origin_and_no_secret(module: ServiceModule) -> None:
    name = module.write(_SERVICE)

    shown = json.loads(run("-A", name, "config", "--json", KAUFMANN_LEASE="7").stdout)
    text = run("-A", name, "config").stdout

    assert shown["lease"] == {"value": "7.0", "origin": "KAUFMANN_LEASE"}
    assert shown["redis_url"] == {"value": "redis://:***@redis.invalid:6379/0", "origin": "keyword"}
    assert shown["max_demand"]["origin"] == "default"
    assert "s3cret" not in text
    assert text.startswith("SETTING")


def test_handlers_are_shown_with_task_queue_schema_and_source(module: ServiceModule) -> None:
    name = module.write(_SERVICE)

    exact, glob = json.loads(run("-A", name, "handlers", "--json").stdout)

    assert exact == {
        "event": "order.placed",
        "handler": f"{name}.confirm",
        "task": "event:order.placed",
        "queue": "fast",
        "schema": "order.placed",
        "source": f"{name}.py:6",
    }
    assert (glob["queue"], glob["schema"]) == ("kaufmann.orders", "-")


@pytest.mark.parametrize("place", ["", ":1", "orders:x", "orders:1:2:3", "orders:-1"])
def test_a_place_that_cannot_be_is_wrong_usage(module: ServiceModule, place: str) -> None:
    result = run("-A", module.write(_SERVICE), "events", place)

    assert result.exit_code == 2
    assert "expected TOPIC" in result.stderr


def test_a_payload_file_that_is_missing_is_wrong_usage(module: ServiceModule) -> None:
    result = run("-A", module.write(_SERVICE), "publish", "order.placed", "--payload", "@missing.json")

    assert result.exit_code == 2
    assert "cannot read missing.json" in result.stderr


@pytest.mark.parametrize("payload", ["{order_id: 17}", "", "[" * 100_000])
def test_a_payload_that_is_no_json_is_told(module: ServiceModule, payload: str) -> None:
    result = run("-A", module.write(_SERVICE), "publish", "order.placed", "--payload", payload)

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the payload is not JSON: ")


def test_a_registry_that_is_away_exits_with_69(module: ServiceModule) -> None:
    name = module.write(_SERVICE)
    away = {"KAUFMANN_SCHEMA_REGISTRY_URL": "http://127.0.0.1:1"}

    for command in (["migrate-schemas"], ["publish", "order.placed", "--payload", "{}"]):
        result = run("-A", name, *command, **away)

        assert result.exit_code == 69
        assert "the schema registry does not answer" in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ["events", "orders"],
        ["events", "orders", "--json"],
        ["status"],
        ["offsets", "reset", "--to-latest"],
        ["reinit-service", "--execute"],
        ["errors", "list"],
        ["errors", "replay", "--execute"],
    ],
)
def test_a_kafka_that_is_away_exits_with_69(module: ServiceModule, command: list[str]) -> None:
    away = {"KAUFMANN_BROKERS": "127.0.0.1:1", "KAUFMANN_KAFKA_OPTIONS": '{"bootstrap_timeout_ms": 300}'}

    # A process, because kafka-python leaves the sockets of failed attempts to the garbage collector.
    done = subprocess.run(
        [Path(sys.executable).with_name("kaufmann"), "-A", module.write(_SERVICE), *command],
        env={**os.environ, **away},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 69
    assert done.stderr == "Error: Kafka does not answer (KafkaTimeoutError); check brokers\n"


def test_an_ingester_waits_for_a_kafka_that_is_away_also_with_until_end(module: ServiceModule) -> None:
    away = {"KAUFMANN_BROKERS": "127.0.0.1:1", "KAUFMANN_KAFKA_OPTIONS": '{"bootstrap_timeout_ms": 300}'}
    kaufmann = str(Path(sys.executable).with_name("kaufmann"))
    command = [kaufmann, "-A", module.write(_SERVICE), "ingester", "--until-end"]

    with subprocess.Popen(command, env={**os.environ, **away}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = (line for line in process.stderr if "Kafka does not say where its topics end" in line)
        assert [next(told) for _ in range(2)]
        process.terminate()
        process.communicate(timeout=30)

    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["offsets", "reset"],
        ["offsets", "reset", "--to-earliest", "--to-latest"],
        ["offsets", "reset", "--to-offset", "-1"],
        ["offsets", "reset", "--to-datetime", "soon"],
        ["offsets", "reset", "--to-latest", "--topic", "orders:x"],
        ["reinit-service", "--to", "soon"],
        ["reinit-service", "--from", "-1"],
        ["reinit-service", "--topic", ":1"],
        ["errors", "list", "--since", "24"],
        ["errors", "show", "--event", "orders:1"],
        ["errors", "replay", "--event", "orders:0:x", "--execute"],
    ],
)
def test_places_and_times_that_can_be_none_are_wrong_usage(module: ServiceModule, arguments: list[str]) -> None:
    name = module.write(_SERVICE)

    assert run("-A", name, *arguments).exit_code == 2


_JSON_ONLY = """
    from kaufmann_celery import Kaufmann

    kaufmann = Kaufmann("orders", transcoders="json", producer_mod="kaufmann_celery.PublishNothing")
    celery = kaufmann.celery

    @kaufmann.on("order.noted")
    def handle(event): ...
"""


def test_json_events_are_published_without_a_registry(module: ServiceModule) -> None:
    name = module.write(_JSON_ONLY)
    (module.directory / "schemas").mkdir()
    (module.directory / "schemas" / "order.noted.json").write_text('{"required": ["id"]}')

    done = run("-A", name, "publish", "order.noted", "--payload", '{"id": 1}')
    failed = run("-A", name, "publish", "order.noted", "--payload", "{}")

    assert (done.exit_code, done.stdout) == (0, "published, where is not known\n")
    assert (failed.exit_code, failed.stderr) == (1, "Error: payload.id: missing\n")


def test_a_function_that_is_not_there_is_a_fault_of_every_command_that_needs_it(module: ServiceModule) -> None:
    name = module.write(_JSON_ONLY)

    for command in (("publish", "order.noted", "--payload", "{}"), ("ingester",), ("handlers",)):
        result = run("-A", name, *command, KAUFMANN_TOPIC_STRATEGY="nowhere.topic")

        assert result.exit_code == 2
        assert "topic_strategy: there is no nowhere.topic (No module named 'nowhere')" in result.stderr


def test_an_ingester_without_handlers_does_not_start(module: ServiceModule) -> None:
    name = module.write('from kaufmann_celery import Kaufmann\n\ncelery = Kaufmann("orders").celery\n')

    result = run("-A", name, "ingester")

    assert result.exit_code == 2
    assert "no handlers: register one with @kaufmann.on" in result.output
    assert "committed as ones that nobody wants" in result.output


def test_a_module_without_celerys_app_says_what_to_write(module: ServiceModule) -> None:
    name = module.write('from kaufmann_celery import Kaufmann\n\nkaufmann = Kaufmann("orders")\n')

    result = run("-A", name, "config")

    assert result.exit_code == 2
    assert "has no attribute 'celery'. Write there: celery = kaufmann.celery" in result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "no event of this group has failed: looked in orders"),
        ({"name": "nosuch*"}, "no failed event of this group is as --name asks: looked in orders"),
        (
            {"since": 5, "topics": ("a", "b")},
            "no failed event of this group is as --since, --topic asks: looked in a, b",
        ),
    ],
)
def test_that_nothing_is_found_names_what_was_asked_for_and_where(options: dict[str, Any], says: str) -> None:
    wanted = {"name": "*", "since": None, "event": None, "topics": (), **options}

    assert failed_events._none_of(Kaufmann("orders"), **wanted) == says


def test_one_event_that_is_asked_for_has_to_be_there() -> None:
    known = Candidate(Position("orders", 0, 7), "begun", None, None)

    assert failed_events._is_missing(("orders", 0, 8), [known])
    assert not failed_events._is_missing(("orders", 0, 7), [known])
    assert not failed_events._is_missing(None, [])
