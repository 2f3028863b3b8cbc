from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaufmann_celery.event import Event, Headers, Position
from kaufmann_celery.tasks import envelope

POSITION = Position("orders", 3, 42)
EPOCH = datetime.fromtimestamp(0, UTC)

#: Milliseconds that a datetime can hold.
texts = st.text(st.characters(codec="utf-8"))
moments = st.integers(-62_135_596_800_000, 253_402_300_799_999)
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.decimals(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    texts,
    st.none() | texts,
    st.none() | st.binary(),
    moments,
    st.lists(st.tuples(st.text(), st.binary()), max_size=3).map(tuple),
    st.dictionaries(st.text(), st.text(), max_size=3),
    payloads,
    st.integers(1, 100),
)
def test_an_event_comes_out_as_it_went_in(
    name: str,
    key: str | None,
    raw_key: bytes | None,
    timestamp_ms: int,
    headers: Headers,
    meta: dict[str, str],
    payload: Any,
    attempt: int,
) -> None:
    text = envelope.pack(
        name, key=key, raw_key=raw_key, timestamp_ms=timestamp_ms, headers=headers, meta=meta, payload=payload
    )
    unpacked = envelope.unpack(text, POSITION, attempt)
    event, error, time_read, _ = unpacked
    key_read = unpacked.raw_key

    assert text.isascii()
    assert (error, key_read, time_read) == (None, raw_key, timestamp_ms)
    assert event == Event(
        name=name, payload=payload, meta=meta, id=envelope.event_id(meta, POSITION), topic="orders", partition=3,
        offset=42, key=key, timestamp=EPOCH + timedelta(milliseconds=timestamp_ms), headers=headers, attempt=attempt,
    )  # fmt: skip
    assert envelope.payload_of(text) == payload


def packed(**changes: Any) -> str:
    parts: dict[str, Any] = {
        "key": None,
        "raw_key": None,
        "timestamp_ms": 0,
        "headers": (),
        "meta": {},
        "payload": None,
        **changes,
    }
    return envelope.pack("order.placed", **parts)


def unpacked(**changes: Any) -> envelope.Unpacked:
    return envelope.unpack(packed(**changes), POSITION, 1)


@pytest.mark.parametrize("raw_key", [b"order.placed", b"order.placed#7", b"\xff", b"", None])
def test_the_raw_key_survives_a_later_error(raw_key: bytes | None) -> None:
    text = envelope.with_error(packed(key="7", raw_key=raw_key), "WorkerDied", "no")

    assert envelope.unpack(text, POSITION, 1).raw_key == raw_key


@pytest.mark.parametrize("timestamp_ms", [2**63 - 1, 253_402_300_800_000])
def test_a_time_beyond_pythons_last_year_is_its_last_moment(timestamp_ms: int) -> None:
    """Kafka takes any number that a producer makes up, such as microseconds; the event is handled all the same."""
    event = unpacked(timestamp_ms=timestamp_ms).event

    assert event.timestamp == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize("timestamp_ms", [-(2**63), -62_135_596_800_001])
def test_a_time_before_pythons_first_year_is_its_first_moment(timestamp_ms: int) -> None:
    event = unpacked(timestamp_ms=timestamp_ms).event

    assert event.timestamp == datetime.min.replace(tzinfo=UTC)


def test_a_record_without_a_time_is_just_before_the_epoch() -> None:
    event = unpacked(timestamp_ms=-1).event

    assert event.timestamp == EPOCH - timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("meta", "expected"), [({"message_id": "m1"}, "m1"), ({"message_id": ""}, "orders:3:42"), ({}, "orders:3:42")]
)
def test_an_events_id_is_its_message_id_else_its_position(meta: dict[str, str], expected: str) -> None:
    assert unpacked(meta=meta).event.id == expected


def test_an_error_travels_with_the_event_that_never_reached_its_handler() -> None:
    assert unpacked(error=["DecodeError", "no"]).error == ("DecodeError", "no")


def test_an_error_can_be_put_in_later_and_replaces_an_earlier_one() -> None:
    text = envelope.with_error(packed(payload={"price": Decimal("1.10")}), "WorkerDied", "\udcff")
    again = envelope.with_error(text, "TaskRevokedError", "revoked")

    assert envelope.unpack(text, POSITION, 1)[1] == ("WorkerDied", "\udcff")
    assert envelope.unpack(again, POSITION, 1)[1] == ("TaskRevokedError", "revoked")
    assert envelope.payload_of(again) == {"price": Decimal("1.10")}


def test_a_payload_that_looks_like_kombus_own_tags_survives() -> None:
    payload = {"__type__": "datetime", "__value__": "x"}

    assert envelope.payload_of(packed(payload=payload)) == payload
