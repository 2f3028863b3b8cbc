from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import UnavailableError, message_of
from kaufmann_celery.event import Position
from kaufmann_celery.outputs import outcome
from kaufmann_celery.outputs.composing import Composer
from kaufmann_celery.outputs.error_event import (
    ErrorEvents,
    FailedEvent,
    dead_letter,
    payload_fields,
    takes_text,
)
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.partitions.pending import GoneRecord
from kaufmann_celery.registry.local_schemas import shipped_error_schema
from tests.unit.test_avro_reading import InMemory, record, transcoders_of

NOW = datetime(2024, 2, 29, tzinfo=UTC)
FAILED = FailedEvent(
    "order.placed", Position("orders", 3, 42), "ValueError", "no such item", 2, 1000, b"order.placed#k1",
    {"message_id": "m0", "callback_id": "c1", "callback_topic": {"topic": "back", "partition": 4}}, {"item": "tea"},
)  # fmt: skip
META = record(("message_name", "string"), ("callback_id", ["null", "string"]), name="meta_of_ours")
PAYLOAD = record(("error", "string"), ("message_payload", ["null", "string"]), name="payload_of_ours")
SCHEMA = record(("meta", META), ("payload", PAYLOAD), name="event.error")


class Scene:
    def __init__(self, *, schemas: dict[str, Any] | None = None, **settings: Any) -> None:
        self.config = load_config("shop", keywords=settings, conf={}, environ={})
        self.memory = InMemory(**{subject: [schema] for subject, schema in (schemas or {}).items()})
        self.transcoders = transcoders_of(self.memory, self.config)
        composer = Composer(self.config, self.transcoders)
        self.events = ErrorEvents(self.config, composer, self.transcoders.avro)

    def records(self, failed: FailedEvent = FAILED, incarnation: str = "i") -> list[OutRecord]:
        return self.events.records(failed, incarnation=incarnation, now=NOW)

    def one(self, failed: FailedEvent = FAILED) -> OutRecord:
        (made,) = self.records(replace(failed, meta={}))
        return made

    def json(self, failed: FailedEvent = FAILED) -> dict[str, Any]:
        value = self.one(failed).value
        assert value is not None
        found: dict[str, Any] = json.loads(value)
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_it_is_named_for_what_failed_and_says_where_and_why(scene: Scene) -> None:
    found = scene.json()
    meta = found.pop("meta")

    assert scene.one().key == b"event.error.order.placed"
    assert meta["message_name"] == "event.error.order.placed"
    assert found == {
        "error": "no such item",
        "error_type": "ValueError",
        "message_payload": '{"item": "tea"}',
        "attempts": 2,
        "position": "orders:3:42",
    }


def test_it_goes_to_the_error_topic_else_where_an_output_would_and_to_the_callback() -> None:
    assert [one.topic for one in Scene().records()] == ["back", "shop"]
    assert [one.topic for one in Scene(error_topic="errors").records()] == ["back", "errors"]
    assert [one.topic for one in Scene(callback_topics="").records()] == ["shop"]
    assert [(one.partition, one.kind) for one in Scene().records()] == [(4, "error"), (None, "error")]
    name = replace(FAILED, name="event.stock.moved")
    assert Scene(topic_strategy="event_namespace").one(name).topic == "stock.moved"


def test_its_headers_hold_the_facts_whatever_its_form(scene: Scene) -> None:
    headers = dict(scene.one().headers)

    assert headers["kaufmann-parent-id"] == headers["kaufmann-root-id"] == b"orders:3:42"
    others = ("kaufmann-emitter", "kaufmann-parent-id", "kaufmann-root-id", "content-type")
    assert {name: headers[name] for name in headers if name not in others} == {
        "kaufmann-original-topic": b"orders",
        "kaufmann-original-partition": b"3",
        "kaufmann-original-offset": b"42",
        "kaufmann-original-timestamp": b"1000",
        "kaufmann-original-key": b"order.placed#k1",
        "kaufmann-group": b"shop",
        "kaufmann-error-type": b"ValueError",
        "kaufmann-error-message": b"no such item",
        "kaufmann-attempts": b"2",
    }


def test_a_failure_about_an_error_event_causes_none(scene: Scene) -> None:
    failed = replace(FAILED, name="event.error.order.placed")
    made = scene.events.outcome(failed, incarnation="i", now=NOW)

    assert (made.records, made.failed) == ((), True)


def test_a_repeat_has_the_same_id_and_another_failure_has_another(scene: Scene) -> None:
    assert scene.records() == scene.records()
    ids = {
        json.loads(made.value or b"")["meta"]["message_id"]
        for made in (
            *scene.records(),
            *scene.records(incarnation="j"),
            *scene.records(replace(FAILED, position=Position("orders", 3, 43))),
        )
    }
    assert len(ids) == 3


class TestForm:
    @pytest.mark.parametrize("subject", ["event.error", "event.error.order.placed"])
    def test_with_a_schema_it_has_the_fields_that_the_schema_asks_for(self, subject: str) -> None:
        scene = Scene(schemas={subject: SCHEMA})
        made = scene.records()[0]
        assert made.value is not None
        read = scene.transcoders.read(subject, "shop", made.value, dict(made.headers))

        assert read.payload == {"error": "no such item", "message_payload": '{"item": "tea"}'}
        assert read.meta == {"message_name": "event.error.order.placed", "callback_id": "c1"}

    def test_a_schema_may_ask_for_the_payload_itself(self) -> None:
        item = record(("item", "string"), name="item_of_ours")
        scene = Scene(schemas={"event.error": record(("error", "string"), ("message_payload", item), name="e")})
        made = scene.one()
        assert made.value is not None

        payload = scene.transcoders.read("event.error", "shop", made.value, dict(made.headers)).payload
        assert payload == {"error": "no such item", "message_payload": {"item": "tea"}}

    def test_without_a_schema_or_with_one_that_nothing_fits_it_is_json(self) -> None:
        odd = record(("error", "int"), name="odd")
        for scene in (Scene(), Scene(schemas={"event.error": odd}), Scene(schemas={"event.error": "string"})):
            assert scene.json()["error"] == "no such item"

    @pytest.mark.parametrize(
        ("kind", "payload", "read"),
        [
            ("string", {"item": "tea"}, '{"item": "tea"}'),
            (["null", "string"], "tea", "tea"),
            (["null", "string"], None, None),
            (["null", "string"], b"\xff", "\\xff"),
            ({"type": "string"}, [1], "[1]"),
            (["null", "bytes", "string"], b"\xff", b"\xff"),
        ],
    )
    def test_what_takes_text_gets_the_payload_as_text(self, kind: Any, payload: Any, read: Any) -> None:
        scene = Scene(schemas={"event.error": record(("error", "string"), ("message_payload", kind), name="e")})
        made = scene.one(replace(FAILED, payload=payload))
        assert made.value is not None

        found = scene.transcoders.read("event.error", "shop", made.value, dict(made.headers)).payload
        assert found == {"error": "no such item", "message_payload": read}

    def test_the_shipped_schema_has_room_for_all_of_it(self) -> None:
        fields = payload_fields(shipped_error_schema())

        assert tuple(fields) == ("error", "error_type", "message_payload", "attempts", "position")
        assert takes_text(fields["message_payload"])

    @pytest.mark.parametrize(
        ("schema", "fields"),
        [
            (record(("error", "string")), ("error",)),
            (record(("meta", "string"), ("error", "string")), ("error",)),
            (record(("payload", record(("error", "string")))), ("payload",)),
            (record(("metadata", META), ("payload", record(("error", "string")))), ("error",)),
            ([META, record(("error", "string"))], ("error",)),
            ("string", ()),
        ],
    )
    def test_the_fields_are_those_of_the_schemas_payload(self, schema: Any, fields: tuple[str, ...]) -> None:
        assert tuple(payload_fields(schema)) == fields

    @pytest.mark.parametrize(
        ("kind", "text"),
        [
            ("string", True),
            (["null", "string"], True),
            (["null", {"type": "string", "avro.java.string": "String"}], True),
            (None, False),
            ("bytes", False),
            (["null", "string", "bytes"], False),
            ({"type": "map", "values": "string"}, False),
            ({"type": "string", "logicalType": "uuid"}, False),
        ],
    )
    def test_what_takes_anything_else_is_offered_the_payload_itself(self, kind: Any, *, text: bool) -> None:
        assert takes_text(kind) == text

    def test_a_registry_that_is_away_is_waited_for(self, scene: Scene) -> None:
        scene.memory.away = True
        with pytest.raises(UnavailableError):
            scene.records()

    @pytest.mark.parametrize("payload", [b"\xff\x00raw", "text", None, {"when": NOW}, [1.5], {"a": b"\xff"}])
    def test_any_payload_travels_as_text(self, scene: Scene, payload: Any) -> None:
        text = scene.json(replace(FAILED, payload=payload))["message_payload"]

        assert text is None if payload is None else isinstance(text, str)


class TestSize:
    @pytest.mark.parametrize(
        ("payload", "meta", "kept"),
        [
            ("x" * 100, {}, True),
            ("x" * 10_000, {}, False),
            ("x" * 100, {"tenant": "x" * 10_000}, True),
            ("x" * 10_000, {"callback_id": "x" * 10_000}, False),
        ],
    )
    def test_it_is_cut_to_fit(self, payload: str, meta: dict[str, Any], *, kept: bool) -> None:
        scene = Scene(max_event_bytes=5000)
        (made,) = scene.records(replace(FAILED, payload=payload, meta=meta))

        assert made.size <= 5000
        assert (json.loads(made.value or b"")["message_payload"] is not None) == kept
        assert dict(made.headers)["kaufmann-original-offset"] == b"42"

    def test_message_and_key_are_cut_too(self, scene: Scene) -> None:
        failed = replace(FAILED, error="é" * 5000, raw_key=b"k" * 9000)
        made = scene.one(failed)

        assert json.loads(made.value or b"")["error"] == "é" * 1000
        assert dict(made.headers)["kaufmann-error-message"] == "é".encode() * 1000
        assert dict(made.headers)["kaufmann-original-key"] == b"k" * 4096


def test_its_outcome_keeps_what_on_error_emitted_and_survives_the_ledger(scene: Scene) -> None:
    further = OutRecord("alerts", b"order.alert", b"1")
    made = scene.events.outcome(FAILED, incarnation="i", now=NOW, further=(further,))

    assert made.records == (further, *scene.records())
    assert (made.error_type, made.error, made.attempts) == ("ValueError", "no such item", 2)
    assert outcome.decode(made.encode()) == made


class TestDeadLetter:
    RECORD = GoneRecord("orders", 3, 42, b"order.placed", b"\xff\x00", (("h", b"1"),), 1000)

    def test_it_is_the_record_as_it_was_and_the_facts(self) -> None:
        made = dead_letter(Scene(dead_letter_topic="dead").config, self.RECORD, FAILED)

        assert made is not None
        assert (made.topic, made.key, made.value, made.timestamp_ms) == ("dead", b"order.placed", b"\xff\x00", 1000)
        assert made.headers[0] == ("h", b"1")
        assert dict(made.headers)["kaufmann-original-offset"] == b"42"
        assert made.kind == "dead_letter"

    def test_without_a_topic_there_is_none(self, scene: Scene) -> None:
        assert dead_letter(scene.config, self.RECORD, FAILED) is None

    def test_cut_it_has_no_value_and_none_of_the_records_own_headers(self) -> None:
        big = replace(self.RECORD, key=b"k" * 9000, headers=(("h", b"x" * 9000),))
        made = dead_letter(Scene(dead_letter_topic="dead").config, big, FAILED, cut=True)

        assert made is not None
        assert (made.value, made.key, "h" in dict(made.headers)) == (None, b"k" * 4096, False)

    def test_a_record_with_neither_key_nor_value_can_be_sent(self) -> None:
        empty = replace(self.RECORD, key=None, value=None, timestamp=-1)
        made = dead_letter(Scene(dead_letter_topic="dead").config, empty, FAILED)

        assert made is not None
        assert (made.key, made.value, made.timestamp_ms) == (b"", None, 0)


class Hostile(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such item"), "no such item"),
        (ValueError("half \ud800 a pair"), "half \\ud800 a pair"),
    ],
)
def test_a_message_is_text_that_can_be_sent(error: Exception, text: str) -> None:
    assert message_of(error) == text


def test_an_error_that_cannot_be_printed_has_a_message_nevertheless() -> None:
    assert "no text for you" not in message_of(Hostile())
    assert message_of(Hostile())
