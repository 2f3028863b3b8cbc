"""Settings in a real Celery app's configuration, however it was loaded."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from celery import Celery

from kaufmann_celery.config import Config, load_config
from kaufmann_celery.errors import ConfigError


def load(app: Celery) -> Config:
    return load_config("orders", keywords={}, conf=app.conf, environ={})


class PlainSettings:
    kaufmann_max_demand = 4
    task_acks_late = True


class NamespacedSettings:
    CELERY_KAUFMANN_MAX_DEMAND = 4
    CELERY_TASK_ACKS_LATE = True
    SECRET_KEY = "x"
    prefix = data = "not Celery's"


def test_attributes_of_conf_are_read_before_and_after_it_is_loaded() -> None:
    app = Celery("orders", set_as_current=False)
    app.conf.kaufmann_max_demand = 4
    assert load(app).max_demand == 4
    app.conf.kaufmann_max_demand = 5
    assert load(app).max_demand == 5


def test_conf_update_is_read() -> None:
    app = Celery("orders", set_as_current=False)
    app.conf.update(kaufmann_max_demand=4)
    assert load(app).max_demand == 4


@pytest.mark.parametrize("source", [PlainSettings, {"kaufmann_max_demand": 4}])
def test_a_configuration_object_is_read(source: Any) -> None:
    app = Celery("orders", set_as_current=False)
    app.config_from_object(source)
    config = load(app)
    assert (config.max_demand, config.origin("max_demand")) == (4, "app.conf.kaufmann_max_demand")


@pytest.mark.parametrize("source", [NamespacedSettings, {"CELERY_KAUFMANN_MAX_DEMAND": 4}])
def test_a_namespace_is_read(source: Any) -> None:
    app = Celery("orders", set_as_current=False)
    app.config_from_object(source, namespace="CELERY")
    config = load(app)
    assert (config.max_demand, config.origin("max_demand")) == (4, "app.conf.kaufmann_max_demand")


def test_an_attribute_of_conf_beats_the_namespace() -> None:
    app = Celery("orders", set_as_current=False)
    app.config_from_object(NamespacedSettings, namespace="CELERY")
    app.conf.kaufmann_max_demand = 5
    assert load(app).max_demand == 5


@pytest.mark.parametrize(
    ("source", "namespace"),
    [
        ({"kaufmann_max_demnad": 4}, None),
        (type("Settings", (), {"kaufmann_max_demnad": 4}), None),
        ({"CELERY_KAUFMANN_MAX_DEMNAD": 4}, "CELERY"),
        (type("Settings", (NamespacedSettings,), {"CELERY_KAUFMANN_MAX_DEMNAD": 4}), "CELERY"),
        (type("Settings", (), {"CELERY_KAUFMANN_MAX_DEMNAD": 4, "kaufmann_max_demnad": 4}), "CELERY"),
    ],
)
def test_an_unknown_name_is_found_wherever_it_stands(source: Any, namespace: str | None) -> None:
    app = Celery("orders", set_as_current=False)
    app.config_from_object(source, namespace=namespace)
    conf = app.conf  # not loaded by Celery yet
    with pytest.raises(ConfigError) as raised:
        load_config("orders", keywords={}, conf=conf, environ={})
    assert str(raised.value) == (
        "max_demnad: unknown setting, did you mean max_demand? (from app.conf.kaufmann_max_demnad)"
    )


@pytest.mark.parametrize(
    ("namespace", "right"), [(None, "kaufmann_max_demand"), ("CELERY", "CELERY_KAUFMANN_MAX_DEMAND")]
)
def test_a_setting_that_celery_does_not_read_is_a_warning(
    namespace: str | None, right: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Celery("orders", set_as_current=False)
    app.config_from_object({"KAUFMANN_MAX_DEMAND": 4}, namespace=namespace)
    with caplog.at_level(logging.WARNING):
        assert load(app).max_demand == 50
    assert f"KAUFMANN_MAX_DEMAND in Celery's configuration is not read, write {right}" in caplog.text


def test_celerys_own_settings_are_no_concern() -> None:
    assert load(Celery("orders", broker="redis://r", set_as_current=False)).origin("redis_url") == "default"


def test_settings_load_without_celery_or_kafka() -> None:
    code = "import sys, kaufmann_celery.config; assert not {'kafka', 'celery', 'kombu'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
