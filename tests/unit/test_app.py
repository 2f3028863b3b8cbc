"""Kaufmann: what is checked when a process starts."""

from __future__ import annotations

import pytest

from kaufmann_celery import ConfigError, Kaufmann


def test_an_event_handler_mod_that_is_no_module_is_a_fault_among_the_others() -> None:
    kaufmann = Kaufmann("orders", event_handler_mod="nowhere.handlers")
    kaufmann.on("order.placed")(print)
    kaufmann.on("order.placed")(print)

    with pytest.raises(ConfigError) as raised:
        kaufmann.load()

    assert "event_handler_mod: there is no module nowhere.handlers" in str(raised.value)
    assert "order.placed is registered twice" in str(raised.value)


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
