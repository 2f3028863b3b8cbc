"""The pytest plugin as users have it: by its entry point, in a pytest of its own, in a directory with their service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import kaufmann_celery.testing

SERVICE = """
from kaufmann_celery import Kaufmann

kaufmann = Kaufmann("orders")


@kaufmann.on("order.placed")
def confirm(event):
    if event.payload["id"] == "bad":
        raise ValueError("no such order")
    return ("order.confirmed", {"id": event.payload["id"]})
"""
CONFTEST = """
import pytest
from service import kaufmann


@pytest.fixture
def kaufmann_app():
    return kaufmann
"""
#: What takes long to import, or is of no use without a service.
HEAVY = {"kafka", "celery", "kombu", "redis", "requests", "fastavro", "confluent_kafka"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "service.py").write_text(SERVICE)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "schemas").mkdir()
    for name in ("order.placed", "order.confirmed"):
        schema = {"type": "record", "name": name.replace(".", "_"), "fields": [{"name": "id", "type": "string"}]}
        (tmp_path / "schemas" / f"{name}.avsc").write_text(json.dumps(schema))
    return tmp_path


def ran(directory: Path, *command: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", *command], cwd=directory, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def pytest_of(directory: Path, source: str) -> tuple[int, str]:
    """Run pytest on *source*; every warning is an error."""
    (directory / "test_it.py").write_text(source)
    return ran(directory, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "test_it.py")


def test_loading_the_plugin_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys, kaufmann_celery.testing.plugin; print(*{name.partition('.')[0] for name in sys.modules})"
    status, printed = ran(tmp_path, "-c", code)

    assert status == 0
    assert "pytest" in printed.split()
    assert HEAVY.isdisjoint(printed.split())


def test_a_run_of_pytest_that_uses_no_fixture_of_it_imports_nothing_heavy(tmp_path: Path) -> None:
    names = ", ".join(map(repr, sorted(HEAVY)))
    source = f"""
import sys

def test_nothing(request):
    assert request.config.pluginmanager.has_plugin("kaufmann")
    assert [name for name in ({names}) if name in sys.modules] == []
"""
    status, printed = pytest_of(tmp_path, source)

    assert (status, "1 passed" in printed) == (0, True), printed


def test_the_fixtures_are_a_bus_over_the_users_app_and_a_registry(directory: Path) -> None:
    source = """
from kaufmann_celery.registry.client import SchemaRegistry
from service import kaufmann

def test_confirms(kaufmann_bus):
    kaufmann_bus.given_event("order.placed", {"id": "A-1"})
    kaufmann_bus.then_event("order.confirmed", {"id": "A-1"})
    kaufmann_bus.then_no_event()

def test_a_web_request(kaufmann_bus):
    kaufmann.publish("order.placed", {"id": "A-1"})
    kaufmann_bus.then_event("order.placed", {"id": "A-1"})

def test_registry(kaufmann_registry):
    kaufmann_registry.register("order.placed", "string")
    assert SchemaRegistry([kaufmann_registry.url]).latest("order.placed").schema == "string"
"""
    status, printed = pytest_of(directory, source)

    assert (status, "3 passed" in printed) == (0, True), printed


def test_a_failing_test_shows_its_own_lines_and_the_handlers(directory: Path) -> None:
    source = """
def test_confirms(kaufmann_bus):
    kaufmann_bus.given_event("order.placed", {"id": "bad"})
    kaufmann_bus.then_event("order.confirmed")
"""
    status, printed = pytest_of(directory, source)

    assert status == 1
    assert '>       kaufmann_bus.then_event("order.confirmed")' in printed
    assert "test_it.py:4: AssertionError" in printed
    assert "bus.py" not in printed
    assert "emissions.py" not in printed
    assert "ValueError: no such order" in printed
    assert 'raise ValueError("no such order")' in printed


def test_without_the_users_fixture_it_says_which_to_write(directory: Path) -> None:
    (directory / "conftest.py").unlink()
    status, printed = pytest_of(directory, "def test_it(kaufmann_bus): ...")

    assert status == 1
    assert "define a fixture kaufmann_app in conftest.py" in printed
    assert "    def kaufmann_app():\n        return kaufmann" in printed
    assert "plugin.py" not in printed


def test_a_fixture_that_returns_something_else_is_told(directory: Path) -> None:
    (directory / "conftest.py").write_text(CONFTEST.replace("return kaufmann", "kaufmann"))
    status, printed = pytest_of(directory, "def test_it(kaufmann_bus): ...")

    assert status == 1
    assert "the fixture kaufmann_app has to return the service's Kaufmann object, got NoneType" in printed


def test_a_fault_in_the_settings_is_the_tests_error(directory: Path) -> None:
    (directory / "service.py").write_text(SERVICE.replace('"orders"', '"orders", max_demand=0'))
    status, printed = pytest_of(directory, "def test_it(kaufmann_bus): ...")

    assert status == 1
    assert "the service cannot start:\nmax_demand: must be at least 1, got 0 (from keyword)" in printed
    assert "plugin.py" not in printed


def test_unittest_needs_no_pytest(directory: Path) -> None:
    source = """
import sys
import unittest

from kaufmann_celery.testing import MockBus
from service import kaufmann


class Orders(unittest.TestCase):
    def setUp(self):
        self.bus = self.enterContext(MockBus(kaufmann))

    def test_confirms(self):
        self.bus.given_event("order.placed", {"id": "A-1"})
        self.bus.then_event("order.confirmed", {"id": "A-1"})
        self.assertNotIn("pytest", sys.modules)

    def test_fails(self):
        self.bus.then_event("order.confirmed")
"""
    (directory / "test_it.py").write_text(source)
    status, printed = ran(directory, "-m", "unittest", "-v", "test_it")

    assert status == 1
    assert "test_confirms (test_it.Orders.test_confirms) ... ok" in printed
    assert "test_fails (test_it.Orders.test_fails) ... FAIL" in printed
    assert 'self.bus.then_event("order.confirmed")' in printed
    assert "emissions.py" not in printed


def test_all_is_what_is_public() -> None:
    assert list(kaufmann_celery.testing.__all__) == ["Emitted", "FakeSchemaRegistry", "MockBus"]
    for name in kaufmann_celery.testing.__all__:
        assert getattr(kaufmann_celery.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="Mockbus"):
        _ = kaufmann_celery.testing.Mockbus
