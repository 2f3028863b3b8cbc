from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from uuid import UUID

import pytest

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import EncodeError, EventTooLarge, UnavailableError
from kaufmann_celery.event import Output, Position
from kaufmann_celery.outputs.composing import Composer, collect, message_id_of, utc_now
from kaufmann_celery.outputs.metadata import NO_CAUSE, Cause
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.outputs.partitioning import by_key, spread
from kaufmann_celery.registry.client import SchemaNotFound
from tests.unit.test_avro_reading import InMemory, record, transcoders_of

NOW = datetime(2024, 2, 29, 12, 0, 0, 123_000, UTC)
META = record(
    ("message_id", "string"), ("emitter_service", "string"), ("callback_id", ["null", "string"]), name="meta_of_ours"
)
PAID = record(("meta", META), ("payload", record(("sum", "int"), name="inner")), name="paid")
PLACED = record(("sum", "int"), name="placed")


class Scene:
    def __init__(self, **settings: Any) -> None:
        config = load_config("shop", keywords={"service_id": "host-1", **settings}, conf={}, environ={})
        names = ("order.placed", "order.paid", "query.req")
        self.memory = InMemory(**dict(zip(names, [[PLACED], [PAID], [PLACED]], strict=True)))
        self.transcoders = transcoders_of(self.memory, config)
        self.composer = Composer(config, self.transcoders)

    def compose(
        self, name: str = "order.placed", payload: Any = None, cause: Cause = NO_CAUSE, **options: Any
    ) -> list[OutRecord]:
        output = Output(name, {"sum": 7} if payload is None else payload, **options)
        return self.composer.compose(output, message_id="m1", now=NOW, cause=cause)

    def one(self, name: str = "order.placed", payload: Any = None, **options: Any) -> OutRecord:
        (made,) = self.compose(name, payload, **options)
        return made

    def meta(self, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(dict(self.one(**options).headers)["kaufmann-meta"])
        return found


@pytest.fixture
def scene() -> Scene:
    return Scene()


class TestCollect:
    @pytest.mark.parametrize(
        ("returned", "outputs"),
        [
            (None, []),
            (("a", 1), [Output("a", 1)]),
            (("a", None), [Output("a", None)]),
            (Output("a", 1, key="k"), [Output("a", 1, key="k")]),
            ([], []),
            ([("a", 1), Output("b", 2)], [Output("a", 1), Output("b", 2)]),
            ((("a", 1), ("b", 2)), [Output("a", 1), Output("b", 2)]),
        ],
    )
    def test_a_handler_returns_nothing_an_output_or_several(self, returned: Any, outputs: list[Output]) -> None:
        assert collect(returned) == outputs

    def test_a_handler_may_yield_them(self) -> None:
        def handler() -> Iterator[Any]:
            yield "a", 1
            yield Output("b", 2)

        assert collect(handler()) == [Output("a", 1), Output("b", 2)]

    @pytest.mark.parametrize("returned", ["a", 1, {"a": 1}, ["a"], [None], ("a", 1, 2), [["a", 1]]])
    def test_anything_else_is_a_type_error_that_does_not_show_it(self, returned: Any) -> None:
        with pytest.raises(TypeError, match="output"):
            collect(returned)


class TestBytes:
    def test_a_record_has_the_events_name_as_key_and_the_latest_schemas_bytes(self, scene: Scene) -> None:
        made = scene.one()

        assert (made.key, made.value, made.timestamp_ms) == (b"order.placed", b"\x0e", 1_709_208_000_123)
        assert dict(made.headers)["kaufmann-schema-id"] == b"1"
        assert made.kind == "output"

    def test_the_key_follows_the_sign(self, scene: Scene) -> None:
        assert scene.one(key="k1").key == b"order.placed#k1"
        assert scene.one(key="").key == b"order.placed#"

    def test_headers_are_added_and_the_service_is_named(self, scene: Scene) -> None:
        made = scene.one(headers={"a": "text", "b": b"\xff"})

        assert made.headers[-3:] == (("a", b"text"), ("b", b"\xff"), ("kaufmann-emitter", b"shop"))
        assert dict(Scene(consumer_group="audit").one().headers)["kaufmann-emitter"] == b"shop"
        output = Output("order.placed", {"sum": 7})
        (bare,) = scene.composer.compose(output, message_id="m1", now=NOW, emitter=False)
        assert "kaufmann-emitter" not in dict(bare.headers)

    def test_json_has_meta_beside_the_payloads_own_fields(self, scene: Scene) -> None:
        made = scene.one(format="json")

        assert made.value is not None
        assert json.loads(made.value)["sum"] == 7
        assert json.loads(made.value)["meta"]["message_id"] == "m1"
        assert dict(made.headers)["content-type"] == b"application/json"
        with pytest.raises(EncodeError):
            scene.one(payload=[1], format="json")

    def test_what_fits_no_schema_or_has_none_is_an_encode_error(self, scene: Scene) -> None:
        with pytest.raises(EncodeError):
            scene.one(payload={"sum": "seven"})
        with pytest.raises(SchemaNotFound):
            scene.one("order.lost")

    @pytest.mark.parametrize(
        ("field", "value", "said"),
        [
            ("name", None, "name: expected text, got NoneType"),
            ("name", "", "name: expected text, got an empty one"),
            ("name", "order\udc80", "name: expected text, got half of a surrogate pair"),
            ("topic", 5, "topic: got 5, expected a topic or a list of topics"),
            ("topic", [], "topic: got an empty list, expected a topic or a list of topics"),
            ("topic", {"a"}, "topic: got set, expected a topic or a list of topics"),
            ("topic", ["a", 5], "topic: got what is no topic: it must be text"),
            ("topic", "", "topic: got what is no topic: it must not be empty"),
            ("topic", "a b", "topic: got what is no topic: it must be 1 to 249 letters, .*"),
            ("key", 17, "key: expected text, got int"),
            ("key", b"k1", "key: expected text, got bytes"),
            ("partition", "1", "partition: expected a whole number, got str"),
            ("partition", True, "partition: expected a whole number, got bool"),
            ("reply", "yes", "reply: expected True or False, got str"),
            ("reply_to", 5, "reply_to: expected topic or topic:partition, got int"),
            ("reply_to", "", "reply_to: expected topic or topic:partition; the topic must not be empty"),
            ("reply_to", ":3", "reply_to: expected topic or topic:partition; the topic must not be empty"),
            ("reply_to", "a b:3", "reply_to: expected topic or topic:partition; the topic must be .*"),
            ("reply_to", "answers:x", "reply_to: expected topic or topic:partition"),
            ("reply_to", "answers:", "reply_to: expected topic or topic:partition"),
            ("format", ["json"], "format: expected text, got list"),
            ("meta", 5, "meta: expected a dict with text as keys, got int"),
            ("meta", {5: 5}, "meta: expected a dict with text as keys, got dict"),
            ("meta", {"a": object()}, r"meta: it cannot be written: .* builtins\.object"),
            ("headers", 5, "headers: expected a dict or a list of pairs, with text as names, got int"),
            ("headers", ["ab"], "headers: expected a dict or a list of pairs, with text as names, got list"),
            ("headers", {"a": 1}, "headers: expected text or bytes for a, got int"),
            ("headers", [("a", None)], "headers: expected text or bytes for a, got NoneType"),
        ],
    )
    def test_a_field_that_is_something_else_is_an_encode_error(
        self, scene: Scene, field: str, value: Any, said: str
    ) -> None:
        with pytest.raises(EncodeError, match=f"^{said}$"):
            scene.one(**{field: value})

    def test_a_registry_that_is_away_is_no_fault_of_the_output(self, scene: Scene) -> None:
        scene.memory.away = True
        with pytest.raises(UnavailableError):
            scene.one()

    def test_all_records_of_an_output_together_are_held_to_the_limit(self) -> None:
        size = Scene().one().size
        assert len(Scene(max_event_bytes=2 * size).compose(topic=["a", "b"])) == 2
        with pytest.raises(EventTooLarge):
            Scene(max_event_bytes=2 * size - 1).compose(topic=["a", "b"])


class TestMeta:
    def test_it_says_who_emitted_what_and_what_it_follows_from(self, scene: Scene) -> None:
        assert scene.meta(cause=Cause({"callback_id": "c1"})) == {
            "message_id": "m1",
            "emitter_service": "shop",
            "emitter_service_id": "host-1",
            "callback_id": "c1",
            "message_name": "order.placed",
            "timestamp": "2024-02-29T12:00:00.123000+00:00",
            "callback_topic": None,
        }

    def test_a_callback_id_that_is_a_uuid_is_carried_on_as_text(self, scene: Scene) -> None:
        assert scene.meta(cause=Cause({"callback_id": UUID(int=1)}))["callback_id"] == str(UUID(int=1))

    def test_the_outputs_own_is_merged_over_it(self, scene: Scene) -> None:
        meta = scene.meta(meta={"message_id": "mine", "tenant": 3}, cause=Cause({"callback_id": "c1"}))

        assert (meta["message_id"], meta["tenant"], meta["callback_id"]) == ("mine", 3, "c1")

    def test_it_is_in_the_value_where_the_schema_has_a_place_for_it(self, scene: Scene) -> None:
        made = scene.one("order.paid", cause=Cause({"callback_id": "c1"}))
        assert made.value is not None
        read = scene.transcoders.read("order.paid", "shop", made.value, dict(made.headers))

        assert read.payload == {"sum": 7}
        assert read.meta == {"message_id": "m1", "emitter_service": "shop", "callback_id": "c1"}
        assert "kaufmann-meta" not in dict(made.headers)

    @pytest.mark.parametrize(
        ("reply_to", "expected"),
        [
            ("answers", {"topic": "answers", "partition": 0}),
            ("answers:4", {"topic": "answers", "partition": 4}),
        ],
    )
    def test_it_says_where_replies_go(self, scene: Scene, reply_to: str, expected: dict[str, Any]) -> None:
        assert scene.meta(reply_to=reply_to)["callback_topic"] == expected


class TestTopics:
    @pytest.mark.parametrize(
        ("name", "topic"),
        [
            ("command.order.place", "order.place"),
            ("event.order.placed.v2", "order.placed"),
            ("query.req.order.find", "order.find"),
            ("event", "usual"),
        ],
    )
    def test_an_events_namespace_names_its_topic(self, name: str, topic: str) -> None:
        scene = Scene(topic_strategy="event_namespace", default_publish_topic="usual")

        assert scene.composer.topics(Output(name, None)) == (topic,)
        assert Scene(default_publish_topic="usual").composer.topics(Output(name, None)) == ("usual",)

    def test_an_output_may_name_its_own(self, scene: Scene) -> None:
        assert [one.topic for one in scene.compose()] == ["shop"]
        assert [one.topic for one in scene.compose(topic="a", partition=3)] == ["a"]
        several = scene.compose(topic=["a", "b", "a"], partition=3)
        assert [(one.topic, one.partition) for one in several] == [("a", 3), ("b", 3)]

    @pytest.mark.parametrize(
        ("reply", "callback", "targets"),
        [
            (True, {"topic": "back", "partition": 4}, [("back", 4), ("shop", None)]),
            (True, {"topic": "back"}, [("back", None), ("shop", None)]),
            (True, {"topic": "back", "partition": "4"}, [("back", None), ("shop", None)]),
            (True, {"topic": "back", "partition": -1}, [("back", None), ("shop", None)]),
            (True, {"topic": "back", "partition": 2**31}, [("back", None), ("shop", None)]),
            (True, {"topic": "shop", "partition": 4}, [("shop", 4)]),
            (True, {"topic": "secret", "partition": 4}, [("shop", None)]),
            (True, {"topic": 7}, [("shop", None)]),
            (True, "back", [("shop", None)]),
            (True, None, [("shop", None)]),
            (False, {"topic": "back", "partition": 4}, [("shop", None)]),
        ],
    )
    def test_a_reply_goes_also_to_the_callback_topic_where_that_is_allowed(
        self, *, reply: bool, callback: Any, targets: list[tuple[str, int | None]]
    ) -> None:
        cause = Cause({"callback_id": "c1", "callback_topic": callback})
        records = Scene(callback_topics="back,sh*").compose(cause=cause, reply=reply)

        assert [(one.topic, one.partition) for one in records] == targets

    def test_without_callback_topics_none_is_allowed(self) -> None:
        records = Scene(callback_topics="").compose(cause=Cause({"callback_topic": {"topic": "back"}}), reply=True)

        assert [one.topic for one in records] == ["shop"]


class TestPartition:
    @pytest.mark.parametrize("key", [None, "k1"])
    def test_each_strategy_has_its_number(self, key: str | None) -> None:
        by_sum = sum(md5(b"order.placedm1").digest())
        by_id = zlib.crc32(b"m1")
        expected = {"md5": by_sum, "random": by_id, "key": by_id if key is None else by_key(b"k1")}

        for strategy, number in expected.items():
            assert Scene(partition_strategy=strategy).one(key=key).spread == number
            assert spread(strategy, name="order.placed", key=key, message_id="m1") == number

    def test_a_key_goes_where_kafkas_own_producers_send_it(self) -> None:
        """From Kafka's own test of its murmur2."""
        assert by_key(b"21") == -973_932_308 & 0x7FFFFFFF
        assert by_key(b"foobar") == -790_332_482 & 0x7FFFFFFF

    def test_the_message_id_that_counts_is_the_one_that_travels(self) -> None:
        scene = Scene(partition_strategy="random")

        assert scene.one(meta={"message_id": "mine"}).spread == zlib.crc32(b"mine")


def test_the_same_output_of_the_same_event_has_the_same_message_id() -> None:
    position = Position("orders", 3, 42)
    ids = {
        message_id_of(incarnation, place, index)
        for incarnation in ("i", "j")
        for place in (position, position._replace(offset=43))
        for index in (0, 1)
    }

    assert len(ids) == 8
    assert message_id_of("i", position, 0) == message_id_of("i", Position("orders", 3, 42), 0)
    assert message_id_of("i", position, 0) == "01c6fc1a-95f1-53f9-b67c-b800e86aa230"


def test_a_repeat_is_byte_for_byte_the_same() -> None:
    assert Scene().compose(topic=["a", "b"], key="k1") == Scene().compose(topic=["a", "b"], key="k1")


def test_the_time_of_an_output_is_of_whole_milliseconds_in_utc() -> None:
    now = utc_now()

    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
