"""docker-compose.yml as docker-compose itself reads it; no engine is needed for that."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.config import unknown_variables
from kaufmann_celery.local import downloads

ROOT = Path(__file__).parents[2]
OWN = ("schemas", "ingester", "worker", "flower")
# docker-compose 1 is a Python program and has a YAML reader, which this project needs nowhere else.
TO_JSON = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    command = shutil.which("docker-compose")
    interpreter = Path(command).read_bytes().splitlines()[0].decode(errors="replace") if command else ""
    if "python" not in interpreter:
        if os.environ.get("CI"):
            pytest.fail("docker-compose 1 is not installed")
        pytest.skip("needs docker-compose 1")
    printed = run(["docker-compose", "config"])
    as_json = run([*interpreter.removeprefix("#!").split(), "-c", TO_JSON], input=printed)
    read: dict[str, Any] = json.loads(as_json)["services"]
    return read


def test_everything_that_a_service_needs_is_there(services: dict[str, Any]) -> None:
    assert set(services) == {"kafka", "redis", "registry", *OWN}


def test_a_service_waits_until_what_it_needs_is_healthy(services: dict[str, Any]) -> None:
    healthy = {"condition": "service_healthy"}
    stores = {"kafka": healthy, "redis": healthy, "registry": healthy}
    waits = {name: services[name].get("depends_on") for name in services}

    assert (
        waits["ingester"] == waits["worker"] == {**stores, "schemas": {"condition": "service_completed_successfully"}}
    )
    assert waits["schemas"] == {"registry": healthy}
    assert waits["flower"] == {"redis": healthy}
    waited_for = {name for needs in waits.values() if needs for name, how in needs.items() if how == healthy}
    assert waited_for == {name for name in stores if "test" in services[name]["healthcheck"]}


def test_every_setting_is_one_that_exists(services: dict[str, Any]) -> None:
    for name in OWN:
        environment = services[name]["environment"]
        assert set(environment) == {"KAUFMANN_BROKERS", "KAUFMANN_REDIS_URL", "KAUFMANN_SCHEMA_REGISTRY_URL"}
        assert unknown_variables(environment) == []


def test_settings_name_services_and_the_ports_they_listen_on(services: dict[str, Any]) -> None:
    environment = services["ingester"]["environment"]
    listeners = services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]

    assert f"//{environment['KAUFMANN_BROKERS']}" in listeners
    for variable in ("KAUFMANN_REDIS_URL", "KAUFMANN_SCHEMA_REGISTRY_URL"):
        host, port = re.findall(r"//([a-z]+):(\d+)/", environment[variable])[0]
        assert [one.rpartition(":")[2] for one in services[host]["ports"]] == [f"{port}/tcp"]


def test_ports_are_open_on_loopback_alone(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]

    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_commands_are_those_of_the_procfile(services: dict[str, Any]) -> None:
    lines = [line for line in (ROOT / "Procfile").read_text().splitlines() if not line.startswith("#")]

    for name, command in (line.split(": ", 1) for line in lines):
        assert " ".join(services[name]["command"]).startswith(command)


def test_kafka_and_registry_are_the_versions_of_the_local_stack(services: dict[str, Any]) -> None:
    assert services["kafka"]["image"] == f"apache/kafka:{downloads.KAFKA}"
    assert services["registry"]["image"] == f"apicurio/apicurio-registry:{downloads.REGISTRY}"


def run(command: list[str], input: str | None = None) -> str:  # noqa: A002 - subprocess's own name
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, input=input)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
