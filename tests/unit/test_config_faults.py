"""What is wrong with settings is said clearly, with its source, and all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import ConfigError


def faults(
    keywords: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    conf: dict[str, Any] | None = None,
    service: str = "orders",
    app_broker: str | None = None,
) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load_config(service, keywords=keywords or {}, conf=conf or {}, environ=environ or {}, app_broker=app_broker)
    return str(raised.value).splitlines()


def fault(keywords: dict[str, Any]) -> str:
    (only,) = faults(keywords)
    assert only.endswith(" (from keyword)")
    return only.removesuffix(" (from keyword)")


def test_a_fault_names_the_setting_the_value_and_the_source() -> None:
    assert faults(environ={"KAUFMANN_MAX_DEMAND": "0"}) == [
        "max_demand: must be at least 1, got 0 (from KAUFMANN_MAX_DEMAND)"
    ]
    assert faults(conf={"kaufmann_max_demand": 0}) == [
        "max_demand: must be at least 1, got 0 (from app.conf.kaufmann_max_demand)"
    ]
    assert faults({"max_demand": 0}) == ["max_demand: must be at least 1, got 0 (from keyword)"]


def test_all_faults_are_reported_together() -> None:
    found = faults(
        {"max_demnad": 3, "lease": -1},
        {"KAUFMANN_ORDERING": "keys", "KAUFMANN_REDIS_URL_FILE": "/does/not/exist"},
        {"kaufmann_framming": "raw", "kaufmann_commit_interval": "5s"},
        service="two words",
    )
    assert sorted(found) == sorted(
        [
            "framming: unknown setting, did you mean framing? (from app.conf.kaufmann_framming)",
            "redis_url: cannot read the file: No such file or directory (from KAUFMANN_REDIS_URL_FILE)",
            "max_demnad: unknown setting, did you mean max_demand? (from keyword)",
            "service: must be 1 to 249 letters, digits, dots, underscores or hyphens, got 'two words' "
            "(from Kaufmann(...))",
            "commit_interval: must be a number of seconds, got '5s' (from app.conf.kaufmann_commit_interval)",
            "ordering: must be unordered, key or partition, did you mean key?, got 'keys' (from KAUFMANN_ORDERING)",
            "lease: must be above 0 seconds, got -1 (from keyword)",
        ]
    )


def test_a_value_that_a_better_source_replaces_is_not_checked() -> None:
    config = load_config("orders", keywords={"lease": 1}, conf={}, environ={"KAUFMANN_LEASE": "long"})
    assert config.lease == 1.0


@pytest.mark.parametrize("name", ["max_demand", "max_window", "commit_threshold", "max_attempts", "max_event_bytes"])
def test_counts_begin_at_one(name: str) -> None:
    assert f"{name}: must be at least 1, got 0" in faults({name: 0})[0]


@pytest.mark.parametrize("given", ["", "many", "1.5", 1.5, True, "10,000", "1" * 5000, b"1"])
def test_a_count_is_a_whole_number(given: object) -> None:
    assert fault({"max_attempts": given}).startswith("max_attempts: must be a whole number, got ")


@pytest.mark.parametrize("name", ["commit_interval", "lease", "shutdown_timeout"])
@pytest.mark.parametrize("given", [0, -0.5, "0"])
def test_durations_are_above_zero(name: str, given: object) -> None:
    assert fault({name: given}).startswith(f"{name}: must be above 0 seconds, got ")


@pytest.mark.parametrize("given", ["", "10s", "nan", "inf", float("nan"), True, [], 10**400])
def test_a_duration_is_a_number_of_seconds(given: object) -> None:
    assert fault({"lease": given}).startswith("lease: must be a number of seconds, got ")


@pytest.mark.parametrize(
    ("name", "given", "meant"),
    [
        ("ordering", "partitions", "partition"),
        ("delivery", "exactly-once", "exactly_once"),
        ("auto_offset_reset", "earlyest", "earliest"),
        ("framing", "Confluent", "confluent"),
        ("topic_strategy", "event-namespace", "event_namespace"),
        ("partition_strategy", "md-5", "md5"),
        ("subject_strategy", "event_names", "event_name"),
    ],
)
def test_a_choice_mistyped_is_answered_with_the_one_meant(name: str, given: str, meant: str) -> None:
    assert f"did you mean {meant}?, got {given!r}" in fault({name: given})


@pytest.mark.parametrize("given", [3, "", ".", "service.", "1a.b", "a b.c"])
def test_a_strategy_is_a_name_or_a_dotted_function(given: object) -> None:
    assert "must be event_name or a dotted path to a function" in fault({"subject_strategy": given})


@pytest.mark.parametrize("name", ["default_topic", "subscription_topics", "error_topic", "dead_letter_topic"])
@pytest.mark.parametrize("given", ["two words", "a/b", "ü", "x" * 250, ".."])
def test_topics_are_legal_in_kafka(name: str, given: str) -> None:
    assert fault({name: given}).startswith(f"{name}: must be 1 to 249 letters, digits, dots")


@pytest.mark.parametrize("given", ["", "two words", "{orders}", "x" * 250, 3])
def test_a_group_is_text_that_redis_keys_can_hold(given: object) -> None:
    assert "consumer_group: must " in fault({"consumer_group": given})


@pytest.mark.parametrize("given", ["", ",", "[]", []])
def test_at_least_one_topic_is_consumed(given: object) -> None:
    assert "subscription_topics: must not be empty" in fault({"subscription_topics": given})


@pytest.mark.parametrize("given", [5, {"a": 1}, b"a", {"a"}])
def test_a_list_is_no_other_thing(given: object) -> None:
    assert "must be a comma-separated list" in fault({"subscription_topics": given})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("kafka://a:9092", "without a scheme"),
        ("a:0", "port from 1 to 65535"),
        ("a:65536", "port from 1 to 65535"),
        ("a:b", "must be host:port"),
        ("[::1", "must be host:port"),
        ("[localhost]:1", "must be host:port"),
        ("a b", "must be host:port"),
        ("", "must not be empty"),
        (["a", ""], "must not be empty"),
        ([1], "must be text"),
    ],
)
def test_a_broker_is_a_host_and_a_port(given: object, reason: str) -> None:
    assert reason in fault({"brokers": given})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("reddis://a", "did you mean redis?"),
        ("http://a", "must begin with redis:// or rediss:// or redis+socket:// or sentinel://"),
        ("localhost:6379", "must begin with"),
        ("redis://a:port", "must be a URL"),
        ("redis://[::1", "must be a URL"),
        ("redis://a b", "must not hold spaces"),
        ("redis://a/orders", "number of a database"),
        ("redis+socket://", "must name a socket"),
        ("redis+cluster://", "must be host:port"),
        ("redis+cluster://a:70000", "must have a port"),
        ("redis+cluster://a:1,b/2", "must not name a database"),
        ("redis://a;redis+cluster://b", "in one URL"),
        ("sentinel://a;b", "must begin with"),
        ("redis://a\nb", "one line"),
        ("", "must not be empty"),
        (6379, "must be text"),
    ],
)
def test_redis_has_a_url_of_its_own_kind(given: object, reason: str) -> None:
    assert reason in fault({"redis_url": given})


def test_a_broken_broker_url_is_a_fault_that_names_the_app() -> None:
    assert faults(app_broker="redis://:p#w@host")[0].endswith("(from the Celery app's broker)")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("localhost:8081", "must begin with http:// or https://"),
        ("htp://a", "did you mean http?"),
        ("http://", "must name a host"),
        ("http://a,b", "must begin with"),
        ("http://a:x", "must be a URL"),
        ("http://a\u2100b", "must be a URL"),
    ],
)
def test_a_registry_has_an_http_url(given: str, reason: str) -> None:
    assert reason in fault({"schema_registry_url": given})


@pytest.mark.parametrize("given", ["8090", "localhost", ":8090", "a:65536", "http://a:1"])
def test_the_http_address_is_a_host_and_a_port(given: str) -> None:
    assert "http_address: must " in fault({"http_address": given})


@pytest.mark.parametrize("given", ["{", "[]", "security", 3, {1: 2}])
def test_kafka_options_are_an_object(given: object) -> None:
    assert fault({"kafka_options": given}) == "kafka_options: must be a JSON object or a dict with text as keys"


@pytest.mark.parametrize("name", ["key_deserializer", "value_deserializer", "key_serializer", "value_serializer"])
def test_kafka_options_leave_bytes_to_the_transcoders(name: str) -> None:
    assert fault({"kafka_options": {name: bytes.decode}}).endswith(f"must not hold {name}: set transcoders instead")


def test_kafka_options_leave_alone_what_has_its_own_setting() -> None:
    assert fault({"kafka_options": {"group_id": "x"}}).endswith("must not hold group_id: set consumer_group instead")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("range", "must be a list"),
        (["cooperative"], "must be of cooperative-sticky, range, roundrobin, sticky, did you mean cooperative-sticky?"),
        (["range", "cooperative-sticky"], "cooperative-sticky goes with no other"),
    ],
)
def test_a_partition_assignment_strategy_is_none_of_these(given: object, reason: str) -> None:
    assert reason in fault({"kafka_options": {"partition_assignment_strategy": given}})


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("zst", "compression_type must be of gzip, lz4, snappy, zstd, did you mean zstd?"),
        (["lz4"], "compression_type must be of gzip, lz4, snappy, zstd"),
    ],
)
def test_a_codec_is_one_of_these(given: object, reason: str) -> None:
    assert reason in fault({"kafka_options": {"compression_type": given}})


def test_a_codec_whose_library_is_missing_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kaufmann_celery.config.values.find_spec", lambda _: None)

    assert "pip install 'kaufmann-celery[compression]'" in fault({"kafka_options": {"compression_type": "lz4"}})


@pytest.mark.parametrize("name", ["event_handler_mod", "producer_mod", "metadata_mod"])
def test_modules_are_dotted_paths(name: str) -> None:
    assert "must be a dotted path" in fault({name: "service/handlers.py"})


@pytest.mark.parametrize("given", ["kye", "payload.", "payload..a", "", 3])
def test_an_ordering_key_is_none_of_these(given: object) -> None:
    assert "ordering_key: must " in fault({"ordering_key": given})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("service_name", " "),
        ("service_id", "a\nb"),
        ("redis_prefix", "a b"),
        ("callback_topics", "a/b"),
        ("schema_path", ""),
        ("schema_path", [3]),
    ],
)
def test_other_texts_are_checked_too(name: str, given: object) -> None:
    assert f"{name}: must " in fault({name: given})


def test_the_window_is_no_smaller_than_the_demand() -> None:
    assert faults({"max_demand": 100}, {"KAUFMANN_MAX_WINDOW": "99"}) == [
        "max_window: must be at least max_demand (100), got 99 (from KAUFMANN_MAX_WINDOW)"
    ]
    assert faults({"max_demand": 20_000}) == [
        "max_window: must be at least max_demand (20000), got 10000 (from default)"
    ]


def test_a_service_does_not_consume_its_own_dead_letters() -> None:
    assert fault({"dead_letter_topic": "orders"}) == "dead_letter_topic: must not be one of subscription_topics"


@pytest.mark.parametrize("service", ["", "a b", "ü", None])
def test_a_service_name_is_legal_as_a_topic_and_a_group(service: Any) -> None:
    (only,) = faults(service=service)
    assert only.startswith("service: must ")


def test_an_unknown_name_without_a_likeness_has_no_suggestion() -> None:
    assert fault({"zzz": 1}) == "zzz: unknown setting"


@pytest.mark.parametrize("given", [None, 3])
def test_an_unknown_name_is_a_fault_whatever_it_holds(given: object) -> None:
    assert fault({"max_demnad": given}) == "max_demnad: unknown setting, did you mean max_demand?"


def test_url_and_uri_must_agree_within_a_source() -> None:
    both = {"KAUFMANN_SCHEMA_REGISTRY_URL": "http://a", "KAUFMANN_SCHEMA_REGISTRY_URI": "http://b"}
    assert faults(environ=both) == [
        "schema_registry_url: KAUFMANN_SCHEMA_REGISTRY_URL and KAUFMANN_SCHEMA_REGISTRY_URI differ, set one of them"
    ]
    same = dict.fromkeys(both, "http://a")
    assert load_config("orders", keywords={}, conf={}, environ=same).schema_registry_url == ("http://a",)


def test_a_variable_and_its_file_are_not_both_set(tmp_path: Path) -> None:
    (tmp_path / "lease").write_text("3")
    environ = {"KAUFMANN_LEASE": "3", "KAUFMANN_LEASE_FILE": str(tmp_path / "lease")}
    assert faults(environ=environ) == ["lease: KAUFMANN_LEASE and KAUFMANN_LEASE_FILE are both set, set one of them"]


def test_a_directory_and_bytes_cannot_be_read_as_a_secret(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    assert "Is a directory" in faults(environ={"KAUFMANN_LEASE_FILE": str(tmp_path)})[0]
    assert "not UTF-8" in faults(environ={"KAUFMANN_LEASE_FILE": str(tmp_path / "bytes")})[0]


def test_only_one_newline_ends_a_file(tmp_path: Path) -> None:
    (tmp_path / "group").write_text("a\n\nb\n")
    (only,) = faults(environ={"KAUFMANN_SERVICE_NAME_FILE": str(tmp_path / "group")})
    assert only == "service_name: must be one line of printable text (from KAUFMANN_SERVICE_NAME_FILE)"


def test_a_long_value_is_cut() -> None:
    assert len(fault({"brokers": "x y" * 1000})) < 250
