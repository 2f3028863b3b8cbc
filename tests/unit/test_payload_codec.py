from __future__ import annotations

import math
from enum import Enum
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from kombu.utils.json import dumps as kombu_dumps
from kombu.utils.json import loads as kombu_loads

from kaufmann_celery.errors import DecodeError, EncodeError
from kaufmann_celery.transcoders import payload_codec, tagged_json
from kaufmann_celery.transcoders.payload_codec import dumps, loads
from kaufmann_celery.transcoders.tagged_json import MAX_DEPTH
from tests.unit.test_tagged_json import PAYLOADS, TYPED, same


class Colour(Enum):
    RED = "red"


#: The codec, and what stands in where it cannot be used: both have to keep every type.
CODECS = pytest.mark.parametrize("codec", [payload_codec, tagged_json], ids=lambda one: one.__name__.rpartition(".")[2])


@CODECS
@given(PAYLOADS)
def test_every_payload_comes_back_the_same(codec: ModuleType, payload: Any) -> None:
    text = codec.dumps(payload)
    assert same(codec.loads(text), payload)
    assert text.isascii()
    assert kombu_loads(kombu_dumps({"args": [text]})) == {"args": [text]}


@CODECS
@pytest.mark.parametrize("value", TYPED, ids=repr)
def test_each_type_comes_back_as_itself(codec: ModuleType, value: Any) -> None:
    assert same(codec.loads(codec.dumps({"value": value})), {"value": value})


@CODECS
def test_nan_comes_back_as_nan(codec: ModuleType) -> None:
    assert math.isnan(codec.loads(codec.dumps(float("nan"))))


@pytest.mark.parametrize("rare", ["\ud800", 2**64, -(2**63) - 1, {1: "a"}], ids=repr)
def test_what_message_pack_cannot_hold_travels_as_json(rare: Any) -> None:
    assert dumps(["usual"]).startswith("m")
    assert not dumps([rare]).startswith("m")


def test_a_text_in_json_is_read_too() -> None:
    assert loads('["a",{"~:bytes":"AA=="}]') == ["a", b"\0"]


@pytest.mark.parametrize("value", [{"secret"}, Colour.RED, object()], ids=["set", "enum", "object"])
def test_what_avro_does_not_know_is_an_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match="a payload cannot hold"):
        dumps({"a": value})


@pytest.mark.parametrize("text", ["m", "mxx", "mkaNh", "m1AAA", "{"])
def test_a_damaged_text_is_a_decode_error(text: str) -> None:
    with pytest.raises(DecodeError, match="damaged"):
        loads(text)


def nested(depth: int) -> Any:
    payload: Any = 1
    for _ in range(depth):
        payload = [payload]
    return payload


@pytest.mark.parametrize("depth", [255, 256, MAX_DEPTH])
def test_a_deep_payload_comes_back(depth: int) -> None:
    assert loads(dumps(nested(depth))) == nested(depth)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_nesting_beyond_the_limit_is_an_encode_error(depth: int) -> None:
    with pytest.raises(EncodeError, match="deeper"):
        dumps(nested(depth))
