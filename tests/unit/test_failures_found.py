from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery import Kaufmann, Output
from kaufmann_celery.event import Position
from kaufmann_celery.operations.failures import Failure, Wanted, error_topics, failure_of, may_be_elsewhere
from kaufmann_celery.partitions.pending import GoneRecord

GROUP = b"orders"
HEADERS = {
    "kaufmann-group": GROUP,
    "kaufmann-original-topic": b"orders",
    "kaufmann-original-partition": b"2",
    "kaufmann-original-offset": b"17",
    "kaufmann-original-timestamp": b"1000",
    "kaufmann-error-type": b"ValueError",
    "kaufmann-error-message": b"as asked",
    "kaufmann-attempts": b"3",
}


def record(key: bytes | None = b"event.error.order.placed", **headers: bytes) -> Any:
    said = HEADERS | {f"kaufmann-{name.replace('_', '-')}": value for name, value in headers.items()}
    return GoneRecord("errors", 0, 5, key, b"", tuple(said.items()), 2000)


def test_an_error_event_names_the_event_that_failed() -> None:
    found = failure_of(record(), GROUP)

    assert found == Failure(
        Position("orders", 2, 17), 1000, "order.placed", "ValueError", "as asked", 3, 2000, record()
    )  # fmt: skip
    assert "as asked" not in repr(found)


@pytest.mark.parametrize(
    "other",
    [
        record(group=b"others"),
        record(key=b"order.placed"),
        record(key=None),
        record(original_offset=b"x"),
        record(original_partition=b""),
        record(attempts=b"-1"),
        GoneRecord("errors", 0, 5, b"event.error.x", b"", (), 2000),
    ],
)
def test_other_records_are_none(other: Any) -> None:
    assert failure_of(other, GROUP) is None


@pytest.mark.parametrize(
    ("wanted", "is_meant"),
    [
        (Wanted(), True),
        (Wanted("order.*"), True),
        (Wanted("event.error.order.placed"), True),
        (Wanted("order"), False),
        (Wanted(position=Position("orders", 2, 17)), True),
        (Wanted(position=Position("orders", 2, 18)), False),
        (Wanted("x", position=Position("orders", 2, 17)), False),
    ],
)
def test_failures_are_chosen_by_name_and_position(wanted: Wanted, is_meant: bool) -> None:
    found = failure_of(record(), GROUP)

    assert found is not None
    assert wanted.takes(found) == is_meant


def test_error_events_are_where_the_settings_send_them() -> None:
    def service(**settings: Any) -> Kaufmann:
        kaufmann = Kaufmann("orders", **settings)
        kaufmann.on("event.shop.closed", "event.order.*")(print)
        return kaufmann

    assert error_topics(service(error_topic="errors")) == ["errors"]
    assert error_topics(service(default_publish_topic="out")) == ["out"]
    assert error_topics(service(topic_strategy="event_namespace")) == ["orders", "shop.closed"]


def test_a_globs_error_events_are_where_those_of_its_schemas_go(tmp_path: Path) -> None:
    for file in ("event.order.placed.v1.avsc", "event.order.billed.json", "event.shop.opened.avsc"):
        (tmp_path / file).write_text("{}" if file.endswith(".json") else '"string"')
    kaufmann = Kaufmann("orders", topic_strategy="event_namespace", schema_path=tmp_path)
    kaufmann.on("event.order.*")(print)

    assert error_topics(kaufmann) == ["order.billed", "order.placed", "orders"]


def elsewhere(output: Output) -> str:
    return f"of.{output.payload['shop']}"


@pytest.mark.parametrize(
    ("pattern", "settings", "expected"),
    [
        ("event.order.*", {"topic_strategy": "event_namespace"}, True),
        ("event.order.placed", {"topic_strategy": "event_namespace"}, False),
        ("event.order.placed", {"topic_strategy": f"{__name__}.elsewhere"}, True),
        ("event.order.*", {"topic_strategy": "event_namespace", "error_topic": "errors"}, False),
        ("event.order.*", {}, False),
    ],
)
def test_it_is_known_where_there_may_be_others(pattern: str, settings: Any, *, expected: bool) -> None:
    kaufmann = Kaufmann("orders", **settings)
    kaufmann.on(pattern)(print)

    assert may_be_elsewhere(kaufmann) == expected
