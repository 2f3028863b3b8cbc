"""Where settings come from, which source wins, and what their values become."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.config import Config, load_config, unknown_variables
from kaufmann_celery.event import Event


def load(
    keywords: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    conf: dict[str, Any] | None = None,
    app_broker: str | None = None,
) -> Config:
    return load_config("orders", keywords=keywords or {}, conf=conf or {}, environ=environ or {}, app_broker=app_broker)


def test_without_any_source_every_setting_has_its_default() -> None:
    config = load()
    found = {name: getattr(config, name) for name in (setting.name for setting in config.describe())}
    assert found == {
        "service": "orders",
        "brokers": ("localhost:9092",),
        "kafka_options": {},
        "redis_url": "redis://localhost:6379/0",
        "redis_prefix": "kaufmann",
        "schema_registry_url": ("http://localhost:8081",),
        "consumer_group": "orders",
        "default_topic": "orders",
        "subscription_topics": ("orders",),
        "default_publish_topic": "orders",
        "error_topic": None,
        "dead_letter_topic": None,
        "callback_topics": ("*",),
        "schema_path": (Path("schemas"),),
        "service_name": "orders",
        "service_id": f"{socket.gethostname()}-{os.getpid()}",
        "event_handler_mod": None,
        "producer_mod": None,
        "metadata_mod": None,
        "max_demand": 50,
        "max_window": 10_000,
        "commit_threshold": 100,
        "commit_interval": 5.0,
        "ordering": "unordered",
        "ordering_key": "key",
        "delivery": "at_least_once",
        "max_attempts": 3,
        "lease": 10.0,
        "auto_offset_reset": "earliest",
        "framing": "raw",
        "transcoders": ("avro", "json"),
        "subject_strategy": "event_name",
        "topic_strategy": "default",
        "partition_strategy": "key",
        "max_event_bytes": 1_048_576,
        "shutdown_timeout": 4.0,
        "http_address": None,
    }
    assert {setting.origin for setting in config.describe()} == {"default", "Kaufmann(...)"}


def test_a_keyword_beats_the_environment_which_beats_conf_which_beats_the_default() -> None:
    conf, environ, keywords = {"kaufmann_max_demand": 2}, {"KAUFMANN_MAX_DEMAND": "3"}, {"max_demand": 4}
    steps = [load(), load(conf=conf), load(environ=environ, conf=conf), load(keywords, environ, conf)]
    assert [(config.max_demand, config.origin("max_demand")) for config in steps] == [
        (50, "default"),
        (2, "app.conf.kaufmann_max_demand"),
        (3, "KAUFMANN_MAX_DEMAND"),
        (4, "keyword"),
    ]


def test_none_counts_as_not_given() -> None:
    config = load({"lease": None}, {"KAUFMANN_LEASE": "7"}, {"kaufmann_error_topic": None})
    assert (config.lease, config.error_topic) == (7.0, None)


def test_empty_text_switches_off_what_has_no_default() -> None:
    config = load({"http_address": ""}, {"KAUFMANN_ERROR_TOPIC": ""}, {"kaufmann_error_topic": "errors"})
    assert (config.error_topic, config.http_address) == (None, None)


def test_a_mounted_file_gives_its_content_without_the_last_newline(tmp_path: Path) -> None:
    (tmp_path / "redis").write_text("redis://:pw@redis:6379/1\n")
    config = load(environ={"KAUFMANN_REDIS_URL_FILE": str(tmp_path / "redis")})
    assert config.redis_url == "redis://:pw@redis:6379/1"
    assert config.origin("redis_url") == "KAUFMANN_REDIS_URL_FILE"


def test_a_group_may_have_any_name_that_others_gave_it() -> None:
    assert load({"consumer_group": "team/orders:blue"}).consumer_group == "team/orders:blue"


def test_topics_follow_default_topic() -> None:
    config = load({"default_topic": "in-and-out"})
    assert (config.subscription_topics, config.default_publish_topic) == (("in-and-out",), "in-and-out")
    assert config.consumer_group == "orders"


@pytest.mark.parametrize(
    "url",
    [
        "redis://r:6379/2",
        "redis://",
        "rediss://:pw@r:6379/0?ssl_cert_reqs=required",
        "redis+socket:///run/redis.sock",
        "sentinel://a:26379;sentinel://b:26379",
    ],
)
def test_the_redis_of_celerys_broker_is_the_default(url: str) -> None:
    config = load(app_broker=url)
    assert (config.redis_url, config.origin("redis_url")) == (url, "the Celery app's broker")


@pytest.mark.parametrize(
    "url", ["redis+cluster://a:7000,b:7001", "rediss+cluster://user:p%40w@a:7000,b", "redis+cluster://[::1]:7000/"]
)
def test_a_redis_cluster_is_named_by_some_of_its_nodes(url: str) -> None:
    assert load({"redis_url": url}).redis_url == url
    assert "p%40w" not in repr(load({"redis_url": url}))


@pytest.mark.parametrize("url", [None, "", "amqp://guest@localhost//", "memory://"])
def test_a_broker_that_is_no_redis_is_not_used_as_one(url: str | None) -> None:
    assert load(app_broker=url).origin("redis_url") == "default"


def test_conf_beats_the_apps_broker() -> None:
    assert load(conf={"kaufmann_redis_url": "redis://a"}, app_broker="redis://b").redis_url == "redis://a"


@pytest.mark.parametrize(
    "source",
    [
        {"keywords": {"schema_registry_uri": "http://r:1"}},
        {"environ": {"KAUFMANN_SCHEMA_REGISTRY_URI": "http://r:1"}},
        {"conf": {"kaufmann_schema_registry_uri": "http://r:1"}},
    ],
)
def test_schema_registry_uri_means_the_url_in_every_source(source: Any) -> None:
    assert load(**source).schema_registry_url == ("http://r:1",)


def test_the_aliass_source_decides_its_rank() -> None:
    config = load({"schema_registry_url": "http://a"}, {"KAUFMANN_SCHEMA_REGISTRY_URI": "http://b"})
    assert config.schema_registry_url == ("http://a",)


@pytest.mark.parametrize("given", ["a,b", " a , b ,", '["a", "b"]', ["a", "b"], ("a", "b", "a")])
def test_several_topics_are_a_comma_list_a_json_list_or_a_sequence(given: object) -> None:
    assert load({"subscription_topics": given}).subscription_topics == ("a", "b")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("kafka", ("kafka:9092",)),
        ("a:1,b_c.d:65535", ("a:1", "b_c.d:65535")),
        ("[::1]:9093", ("[::1]:9093",)),
        ("[fe80::1]", ("[fe80::1]:9092",)),
        ("::1", ("[::1]:9092",)),
        (["10.0.0.1"], ("10.0.0.1:9092",)),
    ],
)
def test_brokers_get_kafkas_port_where_they_have_none(given: object, expected: tuple[str, ...]) -> None:
    assert load({"brokers": given}).brokers == expected


@pytest.mark.parametrize("given", ["a:b", "a,b", '["a", "b"]', ["a", Path("b")]])
def test_schema_path_is_separated_as_path_is_or_by_commas(given: object) -> None:
    given = given.replace(":", os.pathsep) if isinstance(given, str) else given
    assert load({"schema_path": given}).schema_path == (Path("a"), Path("b"))


def test_a_single_schema_path_may_be_a_path(tmp_path: Path) -> None:
    assert load({"schema_path": tmp_path}).schema_path == (tmp_path,)


def test_kafka_options_are_json_or_a_dict_and_cannot_be_changed() -> None:
    given = {"request_timeout_ms": 500}
    assert load(environ={"KAUFMANN_KAFKA_OPTIONS": '{"request_timeout_ms": 500}'}).kafka_options == given
    options = load({"kafka_options": given}).kafka_options
    given["request_timeout_ms"] = 1
    assert options == {"request_timeout_ms": 500}
    with pytest.raises(TypeError):
        options["x"] = 1  # type: ignore[index]  # the point of the test


def test_numbers_in_text_are_read() -> None:
    config = load(environ={"KAUFMANN_MAX_WINDOW": " 20_000 ", "KAUFMANN_LEASE": "0.5"}, conf={"kaufmann_lease": 3})
    assert (config.max_window, config.lease) == (20_000, 0.5)


def test_callback_topics_may_be_none_at_all() -> None:
    assert load({"callback_topics": ""}).callback_topics == ()
    assert load({"callback_topics": "replies.*,[ab]"}).callback_topics == ("replies.*", "[ab]")


@pytest.mark.parametrize("given", ["key", "payload.order_id", "meta.callback_id", "service.keys.customer"])
def test_an_ordering_key_is_the_key_a_path_or_a_function(given: str) -> None:
    assert load({"ordering_key": given}).ordering_key == given


def test_an_ordering_key_may_be_a_function_itself() -> None:
    def customer(event: Event) -> str | None:
        return event.key

    config = load({"ordering_key": customer})
    assert config.ordering_key is customer
    assert "customer" in {setting.name: setting.value for setting in config.describe()}["ordering_key"]


@pytest.mark.parametrize("name", ["subject_strategy", "topic_strategy", "partition_strategy"])
def test_a_strategy_may_be_a_dotted_function(name: str) -> None:
    assert getattr(load({name: "service.strategies.mine"}), name) == "service.strategies.mine"


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().lease = 1.0  # type: ignore[misc]  # the point of the test


def test_origin_knows_no_other_names() -> None:
    with pytest.raises(KeyError):
        load().origin("leese")


def test_an_unknown_variable_is_a_warning_with_a_suggestion() -> None:
    environ = {"KAUFMANN_MAX_DEMNAD": "1", "KAUFMANN_PORT_8090_TCP": "tcp://10.0.0.1", "PATH": "/bin"}
    warnings = unknown_variables(environ)
    assert warnings[0] == "KAUFMANN_MAX_DEMNAD is not a setting, did you mean KAUFMANN_MAX_DEMAND?"
    assert warnings[1].startswith("KAUFMANN_PORT_8090_TCP is not a setting")
    assert len(warnings) == 2


def test_known_variables_their_files_and_aliases_cause_no_warning() -> None:
    known = ["KAUFMANN_LEASE", "KAUFMANN_REDIS_URL_FILE", "KAUFMANN_SCHEMA_REGISTRY_URI"]
    assert unknown_variables(dict.fromkeys(known, "")) == []


def test_unknown_variables_are_logged_once_without_their_values(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        load(environ={"KAUFMANN_PASSWORT": "hunter2", "KAUFMANN_LEESE": "1"})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "KAUFMANN_LEESE is not a setting, did you mean KAUFMANN_LEASE?" in record.getMessage()
    assert "hunter2" not in record.getMessage()
