from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kaufmann_celery.testing.differences import differences


@pytest.mark.parametrize(
    ("expected", "emitted", "told"),
    [
        ({"a": 1}, {"a": 1}, []),
        (1, 2, ["payload: expected 1, got 2"]),
        ({"a": 1}, {}, ["payload.a: expected 1, got nothing"]),
        ({}, {"a": 1}, ["payload.a: expected nothing, got 1"]),
        ({"a": Decimal("1.0")}, {"a": Decimal("1.5")}, ["payload.a: expected Decimal('1.0'), got Decimal('1.5')"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["payload.a[1]: expected 2, got 3"]),
        ({"a": (1,)}, {"a": [1]}, []),
        ([1], [1, {"b": 2}], ["payload[1]: expected nothing, got {'b': 2}"]),
        ([1, 2], [1], ["payload[1]: expected 2, got nothing"]),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, ["payload.a: expected 1, got True"]),
        ({"a": float("nan")}, {"a": float("nan")}, []),
        ({"a": {"b": None}}, {"a": {"b": ""}}, ["payload.a.b: expected None, got ''"]),
        ({"a": {"b": 1}}, {"a": [1]}, ["payload.a: expected {'b': 1}, got [1]"]),
        ({"a": 1, "b": 2}, {"b": 3, "c": 4}, [
            "payload.a: expected 1, got nothing", "payload.b: expected 2, got 3", "payload.c: expected nothing, got 4",
        ]),
    ],
)  # fmt: skip
def test_each_place_is_named(expected: Any, emitted: Any, told: list[str]) -> None:
    assert list(differences(expected, emitted)) == told
