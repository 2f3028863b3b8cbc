from __future__ import annotations

from typing import Any

import pytest
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from kaufmann_celery import ConfigError, Kaufmann
from kaufmann_celery.config import Config, load_config
from kaufmann_celery.kafka_io.options import (
    check_options,
    consumer_options,
    longer_wait_s,
    transactional_options,
)


def config_of(given: dict[str, Any]) -> Config:
    return load_config("orders", keywords={"kafka_options": given}, conf={}, environ={})


def options_of(given: dict[str, Any]) -> dict[str, Any]:
    return consumer_options(config_of(given))


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (["cooperative-sticky"], [CooperativeStickyAssignor]),
        (["range", "roundrobin"], [RangePartitionAssignor, RoundRobinPartitionAssignor]),
        ([CooperativeStickyAssignor], [CooperativeStickyAssignor]),
    ],
)
def test_assignors_go_by_the_names_that_kafka_gives_them(given: list[Any], taken: list[Any]) -> None:
    assert options_of({"partition_assignment_strategy": given})["partition_assignment_strategy"] == taken


@pytest.mark.parametrize(("given", "taken"), [({}, 1000), ({"reconnect_backoff_max_ms": 5000}, 5000)])
def test_a_broker_that_was_away_is_looked_for_each_second_unless_told_otherwise(
    given: dict[str, Any], taken: int
) -> None:
    for options in (options_of(given), transactional_options(config_of(given), "some-id")):
        assert options["reconnect_backoff_max_ms"] == taken


def test_options_that_kafka_python_does_not_know_or_cannot_be_are_faults_of_the_settings() -> None:
    given = {
        "sasl_mechnism": "PLAIN",
        "request_timeout_ms": "500",
        "security_protocol": "SASLSSL",
        "max_poll_records": 7,
    }

    with pytest.raises(ConfigError) as raised:
        Kaufmann("orders", kafka_options=given).load()

    assert str(raised.value).splitlines() == [
        "kafka_options: sasl_mechnism is no option of kafka-python, did you mean sasl_mechanism?",
        "kafka_options: request_timeout_ms must be a number",
        "kafka_options: security_protocol must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, did you mean SASL_SSL?",
    ]


def test_options_that_can_be_are_no_fault() -> None:
    given = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "retry_backoff_ms": 10.5, "client_rack": "a"}

    check_options(config_of(given))


def test_what_the_guarantees_rest_on_is_not_taken_from_the_options() -> None:
    taken = options_of({"isolation_level": "read_uncommitted", "max_poll_records": 7})

    assert (taken["isolation_level"], taken["max_poll_records"]) == ("read_committed", 7)
    assert "partition_assignment_strategy" not in taken


def test_a_transaction_that_is_left_open_holds_others_up_for_ten_seconds_at_most() -> None:
    """Whatever the options: the next owner fences it sooner, where the ledger names its producer."""
    taken = transactional_options(config_of({"transaction_timeout_ms": 900_000}), "orders.life")

    assert (taken["transactional_id"], taken["transaction_timeout_ms"]) == ("orders.life", 10_000)


@pytest.mark.parametrize(
    ("given", "longer_s"),
    [
        ({}, 0.0),
        ({"request_timeout_ms": 500}, 0.0),
        ({"request_timeout_ms": 300_000}, 270.0),
        ({"request_timeout_ms": 40_000, "max_block_ms": 90_000}, 60.0),
    ],
)
def test_the_options_say_how_much_longer_a_call_may_wait(given: dict[str, Any], longer_s: float) -> None:
    assert longer_wait_s(config_of(given)) == longer_s
