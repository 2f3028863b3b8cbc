from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from kombu.utils.json import dumps as kombu_dumps
from kombu.utils.json import loads as kombu_loads

from kaufmann_celery.errors import DecodeError, EncodeError
from kaufmann_celery.transcoders.tagged_json import MAX_DEPTH, dumps, is_too_deep, loads

TYPED = [
    b"\x00\xff",
    Decimal("1.10"),
    Decimal("-1E+40"),
    date(2024, 2, 29),
    time(23, 59, 59, 999999),
    datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC),
    datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=-5))),
    datetime(1, 1, 1),
    UUID("12345678-1234-5678-1234-567812345678"),
    timedelta(days=-1, seconds=5, microseconds=7),
    float("inf"),
    float("-inf"),
    -0.0,
    1.0,
    1,
    True,
    2**80,
    None,
    "~:bytes",
    '"~:bytes":"AA=="',
    "\ud800",
]
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(TYPED)
KEYS = st.text() | st.sampled_from(["~:bytes", "~:=~:bytes", "~:", "~:float", "__type__", "__value__"])
PAYLOADS = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


def same(one: Any, other: Any) -> bool:
    """Equal, of the same types throughout, NaN equal to itself and 0.0 not to -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, datetime | Decimal):
        return repr(one) == repr(other)
    return bool(one == other)


def test_the_text_is_json_that_any_language_reads() -> None:
    assert dumps({"a": float("nan"), "b": 1.5}) == '{"a":{"~:float":"nan"},"b":1.5}'


@pytest.mark.parametrize("key", ["~:bytes", "~:=", "~:=~:date", "~:unknown"])
def test_keys_that_look_like_tags_survive_beside_real_ones(key: str) -> None:
    payload = {key: "x", "real": b"\x00", "inner": [{key: b"\x01"}]}
    assert loads(dumps(payload)) == payload


def test_keys_that_kombu_would_act_on_survive() -> None:
    payload = {"__type__": "x", "__value__": 1}
    assert loads(kombu_loads(kombu_dumps({"args": [dumps(payload)]}))["args"][0]) == payload


def nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: {"~:bytes": 1, "nan": math.inf, "x": value}])
def test_nesting_up_to_the_limit_comes_back(wrap: Any) -> None:
    payload = wrap(nested(MAX_DEPTH - 1))
    assert loads(dumps(payload)) == payload


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 2_000, 100_000])
@pytest.mark.parametrize("leaf", [1, math.inf, b"x"])
def test_nesting_beyond_the_limit_is_an_encode_error(depth: int, leaf: Any) -> None:
    payload = leaf
    for _ in range(depth):
        payload = [payload]
    with pytest.raises(EncodeError, match="deeper"):
        dumps(payload)


def test_a_payload_that_holds_itself_is_an_encode_error() -> None:
    payload: list[Any] = []
    payload.append(payload)
    with pytest.raises(EncodeError, match="deeper"):
        dumps(payload)


@pytest.mark.parametrize("limit", [1, 2, 10])
def test_empty_containers_count_as_a_level(limit: int) -> None:
    value: Any = []
    for _ in range(limit - 1):
        value = {"a": value}
    assert not is_too_deep(value, limit)
    assert is_too_deep([value], limit)


def test_what_avro_does_not_know_is_named_by_its_type_only() -> None:
    with pytest.raises(EncodeError, match=r"builtins\.set") as caught:
        dumps({"a": {"secret"}})
    assert "secret" not in str(caught.value)


def test_an_int_too_long_for_text_is_an_encode_error() -> None:
    with pytest.raises(EncodeError):
        dumps(10**5000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "1 2",
        '{"~:date":"x"}',
        '{"~:bytes":5}',
        '{"~:timedelta":[1e400,0,0]}',
        '{"~:decimal":"x"}',
        "[" * 5000,
    ],
)
def test_damaged_text_is_a_decode_error(text: str) -> None:
    with pytest.raises(DecodeError):
        loads(text)
