"""Kaufmann: what is checked when a process starts."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery import ConfigError, Kaufmann
from tests.unit.cli_module import ServiceModule


def test_an_event_handler_mod_that_is_no_module_is_a_fault_among_the_others() -> None:
    kaufmann = Kaufmann("orders", event_handler_mod="nowhere.handlers")
    kaufmann.on("order.placed")(print)
    kaufmann.on("order.placed")(print)

    with pytest.raises(ConfigError) as raised:
        kaufmann.load()

    assert "event_handler_mod: there is no module nowhere.handlers" in str(raised.value)
    assert "order.placed is registered twice" in str(raised.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("\n\nlimit = {}['LIMIT']", "KeyError: 'LIMIT'"),
        ("def given_event(event)", "SyntaxError: expected ':'"),
    ],
)
def test_an_event_handler_mod_that_is_broken_is_a_fault_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"handlers_{uuid.uuid4().hex[:8]}"
    (tmp_path / f"{name}.py").write_text(source + "\n")

    with pytest.raises(ConfigError) as raised:
        Kaufmann("orders", event_handler_mod=name).load()
    assert f"event_handler_mod: cannot load {name}: {says}" in str(raised.value)
    assert f"({name}.py:" in str(raised.value) or "SyntaxError" in says


def test_an_event_handler_mod_without_given_event_is_a_fault_among_the_others() -> None:
    kaufmann = Kaufmann("orders", event_handler_mod="json.decoder")
    kaufmann.on("order.placed")(print)
    kaufmann.on("order.placed")(print)

    with pytest.raises(
        ConfigError, match=r"json\.decoder has no given_event\(event\)\norder\.placed is registered twice"
    ):
        kaufmann.load()


def test_events_of_an_event_handler_mod_may_be_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ServiceModule(tmp_path, monkeypatch)
    name = module.write('def given_event(event): ...\n\nEVENTS = ("order.placed")  # no tuple')
    kaufmann = Kaufmann("orders", event_handler_mod=name)

    kaufmann.load()

    assert [one.pattern for one in kaufmann.handlers] == ["order.placed"]


@pytest.mark.parametrize("decorator", ["on", "on_error"])
@pytest.mark.parametrize("names", [(), (print,), ("",), (["order.placed"],)])
def test_a_decorator_without_names_is_refused(decorator: str, names: Any) -> None:
    with pytest.raises(
        TypeError, match=rf'^{decorator} takes names of events: @kaufmann\.{decorator}\("order\.placed"\)$'
    ):
        getattr(Kaufmann("orders"), decorator)(*names)


def test_functions_that_are_not_there_are_faults_among_each_other() -> None:
    kaufmann = Kaufmann(
        "orders", topic_strategy="nowhere.topic", partition_strategy=f"{__name__}.absent", metadata_mod="json.decoder",
        ordering_key="nowhere.key",
    )  # fmt: skip

    with pytest.raises(ConfigError) as raised:
        kaufmann.load()

    assert "topic_strategy: there is no nowhere.topic" in str(raised.value)
    assert f"partition_strategy: there is no {__name__}.absent" in str(raised.value)
    assert "metadata_mod: json.decoder is no function, and has no event_metadata(" in str(raised.value)
    assert "ordering_key: there is no nowhere.key" in str(raised.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("http_address", "127.0.0.1:8090")],
)
def test_a_setting_that_is_only_planned_is_refused(setting: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{setting}: .* is not available in this version yet"):
        Kaufmann("orders", **{setting: value}).load()


def test_one_celery_app_runs_one_kaufmann() -> None:
    kaufmann = Kaufmann("orders")

    with pytest.raises(ConfigError, match="one Celery app runs one Kaufmann"):
        Kaufmann("billing", celery=kaufmann.celery)
