from __future__ import annotations

from typing import Any

import pytest
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from kaufmann_celery.config import load_config
from kaufmann_celery.kafka_io.options import consumer_options


def options_of(given: dict[str, Any]) -> dict[str, Any]:
    return consumer_options(load_config("orders", keywords={"kafka_options": given}, conf={}, environ={}))


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


def test_what_the_guarantees_rest_on_is_not_taken_from_the_options() -> None:
    taken = options_of({"isolation_level": "read_uncommitted", "max_poll_records": 7})

    assert (taken["isolation_level"], taken["max_poll_records"]) == ("read_committed", 7)
    assert "partition_assignment_strategy" not in taken
