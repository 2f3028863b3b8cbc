from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from kaufmann_celery.cli.json_values import FromJson, to_json
from kaufmann_celery.errors import EncodeError

_FIELDS: dict[str, Any] = {
    "at": {"type": "long", "logicalType": "timestamp-millis"},
    "local": {"type": "long", "logicalType": "local-timestamp-micros"},
    "day": {"type": "int", "logicalType": "date"},
    "hour": {"type": "int", "logicalType": "time-millis"},
    "sum": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
    "id": {"type": "string", "logicalType": "uuid"},
    "raw": "bytes",
    "four": {"type": "fixed", "name": "four", "size": 4},
    "ratio": "double",
    "many": {"type": "array", "items": ["null", "bytes"]},
    "named": {"type": "map", "values": {"type": "int", "logicalType": "date"}},
    "text": "string",
    "number": "long",
}
_RECORD = {
    "type": "record",
    "name": "Everything",
    "fields": [{"name": name, "type": kind} for name, kind in _FIELDS.items()],
}
_VALUES = {
    "at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    "local": datetime(2026, 1, 2, 3, 4, 5, 6),
    "day": date(2026, 1, 2),
    "hour": time(3, 4, 5),
    "sum": Decimal("12.30"),
    "id": UUID("12345678-1234-5678-1234-567812345678"),
    "raw": b"\x00\xff",
    "four": b"1234",
    "ratio": float("inf"),
    "many": [b"a", None],
    "named": {"first": date(2026, 1, 2)},
    "text": "2026-01-02",
    "number": 17,
}


def test_what_json_lacks_becomes_text_and_by_its_schema_the_value_again() -> None:
    shown = to_json(_VALUES)

    assert shown["at"] == "2026-01-02T03:04:05+00:00"
    assert shown["sum"] == "12.30"
    assert shown["raw"] == "AP8="
    assert shown["ratio"] == "inf"
    assert FromJson(_RECORD)(shown) == _VALUES


def test_the_payload_of_an_envelope_is_converted_by_its_own_schema() -> None:
    meta = {"type": "record", "name": "event_metadata", "fields": [{"name": "message_id", "type": "string"}]}
    event = {
        "type": "record",
        "name": "event",
        "fields": [{"name": "meta", "type": "event_metadata"}, {"name": "payload", "type": _RECORD}],
    }

    assert FromJson([meta, event])({"day": "2026-01-02"}) == {"day": date(2026, 1, 2)}


@pytest.mark.parametrize("value", [None, True, [], {"x": 1}, "text", 17])
def test_what_does_not_fit_is_left_to_the_encoder(value: Any) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "many", "type": _FIELDS["many"]}]}

    assert FromJson(schema)(value) == value
    assert FromJson(schema)({"many": value}) == {"many": value}


def test_a_number_is_a_decimal_where_the_schema_says_so() -> None:
    assert FromJson(_FIELDS["sum"])(12.3) == Decimal("12.3")


def test_a_time_without_a_zone_is_utc() -> None:
    assert FromJson(_FIELDS["at"])("2026-01-02T03:04:05") == _VALUES["at"]


@pytest.mark.parametrize("name", ["at", "day", "sum", "id", "raw"])
def test_text_that_is_no_such_value_names_the_type_and_never_the_value(name: str) -> None:
    with pytest.raises(EncodeError, match="text that is no ") as caught:
        FromJson(_FIELDS[name])("sécret!")

    assert "cret" not in str(caught.value)
