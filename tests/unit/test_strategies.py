"""Topics, partitions and meta by functions of the service's own: what they may give, and what becomes of the event."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.errors import EncodeError
from kaufmann_celery.event import Event, Meta, Output, Position
from kaufmann_celery.outputs.metadata import Cause
from kaufmann_celery.tasks.envelope import event_of
from tests.unit.test_error_event import FAILED
from tests.unit.test_error_event import Scene as Failures
from tests.unit.test_outputs import Scene

NONSENSE: tuple[Any, ...] = (None, 5, {}, [], (), [5], ["a", None], "", "no topic", ["a", "b c"], b"a")
NO_NUMBERS: tuple[Any, ...] = (None, "0", -1, True, 1.0, 2**63)
#: What the functions below return; raised where it is an exception.
answer: Any = None


def topic(output: Output) -> Any:
    assert isinstance(output, Output)
    return given()


def number(output: Output, meta: Meta) -> Any:
    assert meta["message_name"] == output.name
    return given()


def event_metadata(name: str, context: Meta) -> Any:
    return context | {"name": name} if answer == "context" else given()


def given() -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda value: monkeypatch.setitem(globals(), "answer", value)


def test_a_function_gives_one_topic_or_several(says: Any) -> None:
    scene = Scene(topic_strategy=f"{__name__}.topic")

    for value, topics in (("a", ["a"]), (["a", "b", "a"], ["a", "b"]), (("a.b-c_d",), ["a.b-c_d"])):
        says(value)
        assert [one.topic for one in scene.compose()] == topics
    assert [one.topic for one in scene.compose(topic="own")] == ["own"]


@pytest.mark.parametrize("value", NONSENSE, ids=repr)
def test_what_is_no_topic_is_the_outputs_fault(says: Any, value: Any) -> None:
    says(value)
    with pytest.raises(EncodeError, match=rf"^topic_strategy: {__name__}\.topic returned"):
        Scene(topic_strategy=f"{__name__}.topic").compose()


def test_a_function_gives_the_number_that_decides_the_partition(says: Any) -> None:
    scene = Scene(partition_strategy=f"{__name__}.number")
    says(11)

    assert (scene.one().spread, scene.one().partition) == (11, None)


def test_where_the_partition_is_known_no_function_is_asked(says: Any) -> None:
    says(ValueError("asked"))

    assert Scene(partition_strategy=f"{__name__}.number").one(partition=3).partition == 3


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
def test_what_is_no_whole_number_is_the_outputs_fault(says: Any, value: Any) -> None:
    says(value)
    with pytest.raises(EncodeError, match=r"^partition_strategy: .*number returned .*, expected a whole number"):
        Scene(partition_strategy=f"{__name__}.number").compose()


@pytest.mark.parametrize("path", [f"{__name__}.event_metadata", __name__])
def test_a_function_or_a_module_with_one_makes_meta(says: Any, path: str) -> None:
    says({"tenant": "acme", "emitter_service": "another"})
    meta = Scene(metadata_mod=path).meta(meta={"tenant": "own"})

    assert (meta["message_id"], meta["emitter_service"], meta["tenant"]) == ("m1", "another", "own")


def test_the_function_is_given_what_the_consumed_event_says_and_where_replies_should_go(says: Any) -> None:
    says("context")
    scene = Scene(metadata_mod=__name__)
    meta = scene.meta(cause=Cause({"callback_id": "c1", "further": 1}), reply_to="answers:4")

    assert (meta["callback_id"], meta["further"], meta["name"]) == ("c1", 1, "order.placed")
    assert meta["next_callback_topic"] == {"topic": "answers", "partition": 4}
    assert scene.meta()["next_callback_topic"] is None


@pytest.mark.parametrize("value", [None, 5, "meta", [("a", 1)], {1: 2}], ids=repr)
def test_what_is_no_meta_is_the_outputs_fault(says: Any, value: Any) -> None:
    says(value)
    with pytest.raises(EncodeError, match=r"^metadata_mod: .* returned \w+, expected a dict of meta"):
        Scene(metadata_mod=__name__).compose()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


SETTINGS: dict[str, Any] = {
    "topic_strategy": f"{__name__}.topic",
    "partition_strategy": f"{__name__}.number",
    "metadata_mod": __name__,
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("error", [ValueError("no luck"), KeyError("k"), Unprintable()], ids=repr)
def test_a_function_that_raises_is_the_outputs_fault_and_is_named(says: Any, setting: str, error: Exception) -> None:
    says(error)
    with pytest.raises(EncodeError, match=f"the function of {setting} raised {type(error).__name__}") as caught:
        Scene(**{setting: SETTINGS[setting]}).compose()
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("value", [ValueError("no luck"), None], ids=repr)
def test_an_error_event_is_composed_without_the_functions_that_fail(says: Any, value: Any) -> None:
    says(value)
    plain = Failures().records()

    assert Failures(**SETTINGS).records() == plain
    assert Failures(error_topic="errors", **SETTINGS).records()[1] == replace(plain[1], topic="errors")


def test_an_error_event_is_composed_whatever_json_schema_there_is_for_it(tmp_path: Path) -> None:
    (tmp_path / "event.error.order.placed.json").write_text('{"required": ["something.else"]}')

    assert Failures(schema_path=tmp_path).records() == Failures().records()


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), {1, 2}, object()], ids=["nan", "inf", "set", "object"])
def test_an_error_event_is_composed_whatever_meta_the_wire_has(odd: Any) -> None:
    """JSON has no NaN, but Python reads it in the header `kaufmann-meta`."""
    (made,) = Failures().records(replace(FAILED, meta={"callback_id": odd}))

    assert json.loads(made.value or b"")["meta"]["callback_id"] is None


def test_an_error_event_goes_where_the_function_has_an_output_of_that_event_go(says: Any) -> None:
    says(["audit", "ops"])
    records = Failures(topic_strategy=f"{__name__}.topic", partition_strategy="md5").records(replace(FAILED, meta={}))

    assert [one.topic for one in records] == ["audit", "ops"]


class TestChain:
    def consumed(self, headers: tuple[tuple[str, bytes], ...] = ()) -> Event:
        return event_of(
            "order.placed", Position("orders", 3, 42), key=None, timestamp_ms=0, headers=headers,
            meta={"message_id": "m0"}, payload=None,
        )  # fmt: skip

    def test_an_output_names_what_it_follows_from_and_what_the_chain_began_with(self) -> None:
        first = dict(Scene().one(cause=Cause.of(self.consumed())).headers)
        later = dict(Scene().one(cause=Cause.of(self.consumed((("kaufmann-root-id", b"m-first"),)))).headers)

        assert (first["kaufmann-parent-id"], first["kaufmann-root-id"]) == (b"m0", b"m0")
        assert (later["kaufmann-parent-id"], later["kaufmann-root-id"]) == (b"m0", b"m-first")

    def test_what_is_published_outside_a_handler_follows_from_nothing(self) -> None:
        assert "kaufmann-parent-id" not in dict(Scene().one().headers)

    def test_ids_off_the_wire_are_carried_on_within_bounds(self) -> None:
        event = replace(self.consumed((("kaufmann-root-id", b"\xff" * 900_000),)), id="é" * 900_000)
        headers = dict(Scene().one(cause=Cause.of(event)).headers)

        assert len(headers["kaufmann-parent-id"]) == len(headers["kaufmann-root-id"]) == 200

    def test_an_error_event_is_in_the_chain_of_what_failed(self) -> None:
        failed = replace(FAILED, headers=(("kaufmann-root-id", b"m-first"),))
        records = Failures().records(failed)

        assert [dict(one.headers)["kaufmann-parent-id"] for one in records] == [b"m0"] * 2
        assert {json.loads(one.value or b"")["meta"]["callback_id"] for one in records} == {"c1"}
        assert {dict(one.headers)["kaufmann-root-id"] for one in records} == {b"m-first"}


def test_a_partition_that_is_no_number_lets_the_strategy_decide() -> None:
    cause = Cause({"callback_topic": {"topic": "back", "partition": True}})
    (back, _) = Scene(callback_topics="*").compose(cause=cause, reply=True)

    assert (back.partition, back.spread) == (None, zlib.crc32(b"m1"))
