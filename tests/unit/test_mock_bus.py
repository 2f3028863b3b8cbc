"""MockBus as a service's tests use it. tests/contract runs what services do over it and over the real stack."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from celery import Celery, current_task

from kaufmann_celery import ConfigError, ErrorEvent, Event, Kaufmann, Output, PublishError, Retry
from kaufmann_celery.testing import MockBus


def record(title: str, /, **fields: Any) -> dict[str, Any]:
    described = [{"name": key, **(kind if _is_field(kind) else {"type": kind})} for key, kind in fields.items()]
    return {"type": "record", "name": title, "fields": described}


def _is_field(kind: Any) -> bool:
    return isinstance(kind, dict) and "default" in kind


NOTE = {"type": ["null", "string"], "default": None}
ITEM = record("Item", name="string", price="double")
SCHEMAS = {
    "order.placed": record("Placed", order_id="string", note=NOTE),
    "order.confirmed": record("Confirmed", order_id="string", note=NOTE),
    "order.counted": record("Counted", items={"type": "array", "items": ITEM}),
    "query.req": record("Asked", what="string"),
    "query.res": record("Answered", what="string"),
}


class Scene:
    """A service whose schemas are in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.schemas(**SCHEMAS)
        self.kaufmann = self.service()

    def schemas(self, **schemas: Any) -> None:
        for name, schema in schemas.items():
            (self.directory / f"{name}.avsc").write_text(json.dumps(schema))

    def service(self, **settings: Any) -> Kaufmann:
        return Kaufmann("orders", schema_path=self.directory, **settings)

    def on(self, *names: str, **options: Any) -> Callable[[Callable[[Event], Any]], Callable[[Event], Any]]:
        return self.kaufmann.on(*names, **options)

    @property
    def bus(self) -> MockBus:
        return MockBus(self.kaufmann)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def confirm(event: Event) -> tuple[str, Any]:
    return ("order.confirmed", {"order_id": event.payload["order_id"]})


def placed(bus: MockBus, order_id: str = "A-1", **options: Any) -> None:
    bus.given_event("order.placed", {"order_id": order_id}, **options)


def message_of(call: Callable[[], object]) -> str:
    with pytest.raises(AssertionError) as caught:
        call()
    return str(caught.value)


# --- what was emitted


def test_an_event_is_handled_and_what_it_caused_is_there(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    bus = scene.bus
    placed(bus, callback_id="c-1")

    output = bus.then_event("order.confirmed", {"order_id": "A-1"})
    assert output.payload == {"order_id": "A-1", "note": None}
    assert output.topic == "orders"
    assert output.meta["callback_id"] == "c-1"
    assert output.meta["emitter_service"] == "orders"
    assert [one.name for one in bus.emitted] == ["order.confirmed"]
    bus.then_no_event()


def test_a_handler_sees_what_a_record_would_give_it(scene: Scene) -> None:
    seen: list[Event] = []
    scene.on("order.placed")(seen.append)
    bus = scene.bus
    placed(bus, key="k", headers={"trace": "t"}, meta={"emitter_service": "shop"})
    placed(bus)

    first, second = seen
    assert (first.name, first.key, first.topic, first.partition, first.offset) == ("order.placed", "k", "orders", 0, 0)
    assert first.payload == {"order_id": "A-1", "note": None}
    assert dict(first.headers)["trace"] == b"t"
    assert first.meta["emitter_service"] == "shop"
    assert first.id == first.meta["message_id"] != second.id
    assert second.offset == 1


def test_every_avro_type_survives_the_way(scene: Scene) -> None:
    payload = {
        "data": b"\0\xff", "price": Decimal("1.20"), "day": date(2024, 2, 29), "at": time(1, 2, 3, 4000),
        "when": datetime(2024, 2, 29, 1, 2, 3, 4000, tzinfo=UTC), "id": UUID(int=7), "ratio": float("inf"),
        "tagged": {"__type__": "x", "__value__": "1", "~:date": "y"},
    }  # fmt: skip
    kinds = {
        "data": "bytes", "price": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        "day": {"type": "int", "logicalType": "date"}, "at": {"type": "int", "logicalType": "time-millis"},
        "when": {"type": "long", "logicalType": "timestamp-millis"}, "id": {"type": "string", "logicalType": "uuid"},
        "ratio": "double", "tagged": {"type": "map", "values": "string"},
    }  # fmt: skip
    schema = {"type": "record", "name": "All", "fields": [{"name": key, "type": kinds[key]} for key in payload]}
    scene.schemas(**{"all.sent": schema, "all.seen": {**schema, "name": "Seen"}})
    seen: list[Any] = []

    @scene.on("all.sent")
    def back(event: Event) -> Output:
        seen.append(event.payload)
        return Output("all.seen", event.payload)

    bus = scene.bus
    bus.given_event("all.sent", payload)

    assert seen == [payload]
    assert bus.then_event("all.seen", payload).payload == payload


@pytest.mark.parametrize("expected", [{"order_id": "A-2"}, {"order_id": "A-1", "note": "x"}, {}, None, "A-1", []])
def test_another_payload_is_no_match(scene: Scene, expected: Any) -> None:
    scene.on("order.placed")(confirm)
    bus = scene.bus
    placed(bus)

    assert "with another payload" in message_of(lambda: bus.then_event("order.confirmed", expected))
    bus.then_event("order.confirmed", {"order_id": "A-1", "note": None})


def test_events_of_one_name_are_found_by_their_payload_each_once(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    bus = scene.bus
    placed(bus, "A-1")
    placed(bus, "A-2")

    bus.then_event("order.confirmed", {"order_id": "A-2"})
    message = message_of(lambda: bus.then_event("order.confirmed", {"order_id": "A-2"}))
    assert "payload.order_id: expected 'A-2', got 'A-1'" in message
    bus.then_event("order.confirmed")
    message = message_of(lambda: bus.then_event("order.confirmed"))
    assert message.startswith("order.confirmed was emitted 2 times only, and a then_event before this one asked for it")


def test_no_event_means_none_that_was_not_asked_for(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    bus = scene.bus
    bus.then_no_event()
    placed(bus)

    bus.then_no_event("order.refused")
    assert message_of(bus.then_no_event).startswith("no event was to be emitted, but there is order.confirmed\n")
    message = message_of(lambda: bus.then_no_event("order.confirmed"))
    assert message.startswith("order.confirmed was not to be emitted, but there is order.confirmed\n")
    bus.then_event("order.confirmed")
    bus.then_no_event()
    bus.then_no_event("order.confirmed")


def test_an_output_to_several_topics_is_one_event_for_each(scene: Scene) -> None:
    scene.on("order.placed")(lambda event: Output("order.confirmed", event.payload, topic=["a", "b"], partition=3))
    bus = scene.bus
    placed(bus)

    assert [(one.topic, one.partition) for one in bus.emitted] == [("a", 3), ("b", 3)]
    assert bus.then_event("order.confirmed", topic="b").topic == "b"
    assert "was not emitted to topic c" in message_of(lambda: bus.then_event("order.confirmed", topic="c"))


def test_json_is_read_back_as_json(scene: Scene) -> None:
    scene.on("order.placed")(lambda _: Output("order.told", {"ids": (1, 2), "at": date(2024, 1, 1)}, format="json"))
    bus = scene.bus
    placed(bus)

    output = bus.then_event("order.told", {"ids": [1, 2], "at": "2024-01-01"})
    assert output.meta["message_name"] == "order.told"
    placed(bus)
    bus.then_event("order.told", {"ids": (1, 2), "at": date(2024, 1, 1)})


# --- handlers of all kinds


def test_generators_coroutines_and_publish_emit_in_their_order(scene: Scene) -> None:
    @scene.on("order.placed")
    def several(event: Event) -> Any:
        assert scene.kaufmann.publish("order.confirmed", {"order_id": "published"}) is None
        yield ("order.confirmed", {"order_id": "first"})
        yield Output("order.confirmed", {"order_id": "second"})

    @scene.on("query.req")
    async def answer(event: Event) -> Any:
        await asyncio.sleep(0)
        return ("query.res", {"what": "it"})

    bus = scene.bus
    placed(bus)
    bus.given_event("query.req", {"what": "?"})

    assert [one.payload.get("order_id", "answer") for one in bus.emitted] == [
        "first", "second", "published", "answer",
    ]  # fmt: skip


def test_an_async_handler_may_yield_its_outputs(scene: Scene) -> None:
    @scene.on("order.placed")
    async def several(event: Event) -> Any:
        yield confirm(event)
        await asyncio.sleep(0)
        yield confirm(event)

    bus = scene.bus
    placed(bus)

    assert [one.name for one in bus.emitted] == ["order.confirmed", "order.confirmed"]


def test_an_async_handler_runs_beside_the_loop_of_an_async_test(scene: Scene) -> None:
    @scene.on("order.placed")
    async def answer(event: Event) -> Any:
        await asyncio.sleep(0)
        return confirm(event)

    bus = scene.bus

    async def a_test() -> None:
        placed(bus)

    asyncio.run(a_test())
    bus.then_event("order.confirmed")


def test_what_a_failed_handler_published_is_not_sent(scene: Scene) -> None:
    @scene.on("order.placed")
    def fails(event: Event) -> None:
        scene.kaufmann.publish("order.confirmed", {"order_id": "A-1"})
        raise ValueError("no")

    bus = scene.bus
    placed(bus)

    assert [one.name for one in bus.emitted] == ["event.error.order.placed"]


def test_a_handler_runs_in_its_celery_task(scene: Scene) -> None:
    seen = []
    scene.on("order.*")(lambda _: seen.append((current_task.name, current_task.request.id)))
    placed(scene.bus)

    assert seen == [("event:order.*", "order.*@orders:0:0.1")]


def test_kaufmann_exs_given_event_is_matched_and_told_of_its_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, told = ModuleType("handlers_of_this_test"), []

    def given_event(event: Event | ErrorEvent) -> Any:
        match event:
            case Event(name="order.placed", payload={"order_id": "bad"}):
                raise ValueError("bad order")
            case Event(name="order.placed", payload=payload):
                return ("order.confirmed", {"order_id": payload["order_id"]})
            case ErrorEvent(name=name, error=error):
                told.append((name, error))
        return None

    module.given_event = given_event  # type: ignore[attr-defined] # a module made here
    monkeypatch.setitem(sys.modules, module.__name__, module)
    bus = MockBus(scene.service(event_handler_mod=module.__name__))
    placed(bus)
    placed(bus, "bad")

    bus.then_event("order.confirmed", {"order_id": "A-1"})
    assert told == [("order.placed", "bad order")]
    bus.then_event("event.error.order.placed")
    bus.then_no_event()


# --- failures and retries


def test_a_failure_becomes_an_error_event(scene: Scene) -> None:
    @scene.on("order.placed")
    def fails(event: Event) -> None:
        raise ValueError("no such order")

    @scene.kaufmann.on_error("order.placed")
    def tell(error: ErrorEvent) -> tuple[str, Any]:
        return ("order.confirmed", {"order_id": error.error_type})

    bus = scene.bus
    placed(bus)

    bus.then_event("order.confirmed", {"order_id": "ValueError"})
    output = bus.then_event("event.error.order.placed")
    assert (output.payload["error"], output.payload["attempts"]) == ("no such order", 1)
    assert dict(output.headers)["kaufmann-original-offset"] == b"0"
    bus.then_no_event()


@pytest.mark.parametrize(("failing", "options", "attempts"), [
    (2, {"max_retries": 2}, 3),
    (9, {"max_retries": 2}, 3),
    (9, {"max_retries": 2, "autoretry_for": [OSError]}, 1),
    (1, {"autoretry_for": [ValueError]}, 2),
    (9, {}, 1),
])  # fmt: skip
def test_a_retry_runs_at_once(scene: Scene, failing: int, options: Any, attempts: int) -> None:
    seen = []

    @scene.on("order.placed", **options)
    def fails(event: Event) -> Any:
        seen.append(event.attempt)
        if event.attempt <= failing:
            raise ValueError("not yet")
        return confirm(event)

    bus = scene.bus
    placed(bus)

    assert seen == list(range(1, attempts + 1))
    if failing < attempts:
        bus.then_event("order.confirmed")
    else:
        assert bus.then_event("event.error.order.placed").payload["attempts"] == attempts
    bus.then_no_event()


def test_a_raised_retry_waits_for_nothing(scene: Scene) -> None:
    seen = []

    @scene.on("order.placed")
    def later(event: Event) -> None:
        seen.append(event.attempt)
        raise Retry(countdown=3600)

    bus = scene.bus
    placed(bus)

    assert seen == [1, 2, 3, 4]
    bus.then_event("event.error.order.placed")


def test_where_no_retry_is_left_the_error_event_names_what_the_retry_was_raised_from(scene: Scene) -> None:
    @scene.on("order.placed", max_retries=0)
    def later(event: Event) -> None:
        raise Retry from OSError("no stock")

    bus = scene.bus
    placed(bus)

    assert bus.then_event("event.error.order.placed").payload["error_type"] == "OSError"


def test_an_output_without_a_place_in_its_schema_is_the_events_failure(scene: Scene) -> None:
    items = [{"name": "a", "price": 1.0}, {"name": "b", "price": 2}, {"name": "c", "price": "3"}]
    scene.on("order.placed")(lambda _: ("order.counted", {"items": items}))
    bus = scene.bus
    placed(bus)

    message = message_of(lambda: bus.then_event("order.counted"))
    assert "payload.items[2].price: expected double, got str" in message
    bus.then_event("event.error.order.placed")


def test_an_output_without_a_schema_names_itself_its_subject_and_what_to_do(scene: Scene) -> None:
    (scene.directory / "query.res.avsc").unlink()
    scene.on("order.placed")(lambda _: ("query.res.stock", {"what": "much"}))
    bus = scene.bus
    placed(bus)
    said = (
        "query.res.stock has no schema: the schema registry has no subject query.res: "
        "put query.res.avsc into schema_path and run `kaufmann migrate-schemas`"
    )

    error = bus.then_event("event.error.order.placed")
    assert (error.payload["error_type"], error.payload["error"]) == ("SchemaNotFound", said)
    message = message_of(lambda: bus.then_event("query.res.stock"))
    assert said in message
    assert "composing.py" not in message


def test_outputs_above_the_limit_are_the_events_failure(scene: Scene) -> None:
    scene.kaufmann = scene.service(max_event_bytes=2000)
    scene.on("order.placed")(lambda _: ("order.confirmed", {"order_id": "x" * 2000}))
    bus = scene.bus
    placed(bus)

    assert bus.then_event("event.error.order.placed").payload["error_type"] == "EventTooLarge"


# --- replies


def test_a_reply_goes_to_the_callback_and_to_the_usual_topic(scene: Scene) -> None:
    scene.on("query.req.stock")(lambda _: Output("query.res.stock", {"what": "7"}, reply=True, reply_to="orders:1"))
    bus = scene.bus
    callback = {"topic": "shop.replies", "partition": 2}
    bus.given_event("query.req.stock", {"what": "pears"}, callback_id="c-1", meta={"callback_topic": callback})

    reply = bus.then_event("query.res.stock", {"what": "7"}, topic="shop.replies")
    assert (reply.partition, reply.meta["callback_id"]) == (2, "c-1")
    assert reply.meta["callback_topic"] == {"topic": "orders", "partition": 1}
    assert bus.then_event("query.res.stock").topic == "orders"
    bus.then_no_event()


def test_a_failure_is_told_to_the_callback_too(scene: Scene) -> None:
    @scene.on("query.req.stock")
    def fails(event: Event) -> None:
        raise ValueError("no")

    bus = scene.bus
    bus.given_event("query.req.stock", {"what": "x"}, meta={"callback_topic": {"topic": "replies", "partition": 0}})

    assert [one.topic for one in bus.emitted] == ["replies", "orders"]


def test_replies_go_only_where_they_may(scene: Scene) -> None:
    scene.kaufmann = scene.service(callback_topics=["shop.*"])
    scene.on("query.req.stock")(lambda _: Output("query.res.stock", {"what": "7"}, reply=True))
    bus = scene.bus
    bus.given_event("query.req.stock", {"what": "x"}, meta={"callback_topic": {"topic": "audit", "partition": 0}})

    assert [one.topic for one in bus.emitted] == ["orders"]


# --- raw records


def test_what_cannot_be_decoded_becomes_an_error_event_and_a_dead_letter(scene: Scene) -> None:
    scene.kaufmann = scene.service(dead_letter_topic="orders.dead")
    scene.on("order.placed")(confirm)
    told: list[ErrorEvent] = []
    scene.kaufmann.on_error("order.confirmed")(told.append)
    scene.on("order.confirmed")(confirm)
    bus = scene.bus
    bus.given_raw("order.placed", b"\xff\xff", {"trace": "t"})
    bus.given_raw(b"order.confirmed", None)

    assert bus.then_event("event.error.order.placed").payload["error_type"] == "DecodeError"
    bus.then_event("event.error.order.confirmed")
    bus.then_no_event()
    assert [one.error_type for one in told] == ["DecodeError"]
    assert [(one.topic, one.key, one.value) for one in bus.dead_letters] == [
        ("orders.dead", b"order.placed", b"\xff\xff"),
        ("orders.dead", b"order.confirmed", None),
    ]
    assert ("trace", b"t") in bus.dead_letters[0].headers
    assert "order.placed: it cannot be decoded: DecodeError" in message_of(lambda: bus.then_event("order.confirmed"))


def test_a_name_may_come_from_a_header(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    bus = scene.bus
    bus.given_raw("A-1", b"\x06A-1\x00", [("ce_type", b"order.placed")])

    bus.then_event("order.confirmed", {"order_id": "A-1"})


def test_a_record_of_an_older_schema_is_read_into_the_services_own(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    bus = scene.bus
    older = bus.registry.register("order.placed", record("Placed", order_id="string"))
    bus.given_raw("order.placed", b"\x06A-1", {"kaufmann-schema-id": str(older)})

    bus.then_event("order.confirmed", {"order_id": "A-1"})


def test_an_event_that_no_handler_wants_is_passed_over(scene: Scene) -> None:
    scene.on("order.cancelled")(confirm)
    bus = scene.bus
    placed(bus)
    bus.given_raw(None, b"x")

    bus.then_no_event("order.confirmed")
    message = message_of(lambda: bus.then_event("order.confirmed"))
    assert "order.placed: no handler wants it; handlers: order.cancelled" in message


# --- feeding back


def test_what_the_service_consumes_itself_is_fed_back_on_request(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    scene.on("order.confirmed")(lambda event: ("query.res", {"what": event.payload["order_id"]}))
    bus = scene.bus
    placed(bus)
    bus.then_no_event("query.res")
    bus.feed_back()

    bus.then_event("order.confirmed")
    bus.then_event("query.res", {"what": "A-1"})
    bus.feed_back()
    bus.then_no_event()


def test_only_what_it_would_read_comes_back(scene: Scene) -> None:
    scene.on("order.placed")(lambda event: Output("order.confirmed", event.payload, topic="elsewhere"))
    scene.on("order.confirmed")(lambda _: ("query.res", {"what": "it"}))
    scene.on("*")(lambda _: ("query.res", {"what": "all"}))
    bus = scene.bus
    placed(bus)
    bus.given_event("query.req", {"what": "?"})
    bus.feed_back()

    assert [one.name for one in bus.emitted] == ["order.confirmed", "query.res"]


def test_a_loop_is_called_one(scene: Scene) -> None:
    scene.on("order.placed")(lambda event: ("order.confirmed", event.payload))
    scene.on("order.confirmed")(lambda event: ("order.placed", event.payload))
    bus = scene.bus
    placed(bus)

    message = message_of(lambda: bus.feed_back(limit=7))
    assert message.startswith("feed_back: a loop? 7 events came back, and there are more: … → order.confirmed → ")
    assert len(bus.emitted) == 8
    assert message_of(lambda: bus.feed_back(limit=7)).startswith("feed_back: a loop? 7 events came back")
    assert len(bus.emitted) == 15


def test_as_many_as_the_limit_are_no_loop(scene: Scene) -> None:
    scene.on("order.placed")(lambda event: None if event.offset == 3 else ("order.placed", event.payload))
    bus = scene.bus
    placed(bus)
    bus.feed_back(limit=3)

    assert len(bus.emitted) == 3


# --- publishing outside handlers


def test_what_is_published_outside_a_handler_is_taken_by_the_bus_in_its_block(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    with scene.bus as bus:
        position = scene.kaufmann.publish("order.placed", {"order_id": "A-1"})
        assert str(position) == "orders:0:0"
        bus.then_event("order.placed", {"order_id": "A-1"})
        with pytest.raises(PublishError, match=r"payload\.order_id"):
            scene.kaufmann.publish("order.placed", {"order_id": 1})
        with pytest.raises(PublishError, match="reply_to: expected topic or topic:partition, got int"):
            scene.kaufmann.publish("order.placed", {"order_id": "A-1"}, reply_to=1)
        with pytest.raises(PublishError, match=r"there is neither order\.plced\.avsc"):
            scene.kaufmann.publish("order.plced", {})
        with pytest.raises(PublishError, match="is larger than max_event_bytes"):
            scene.kaufmann.publish("order.placed", {"order_id": "A" * 2**20})
        scene.kaufmann.publish("order.placed", {"order_id": "A-2"})
        bus.feed_back()
        bus.then_event("order.confirmed", {"order_id": "A-2"})

    assert "publisher" not in vars(scene.kaufmann)


# --- what a message says


def test_a_schema_failure_names_the_field(scene: Scene) -> None:
    items = [{"name": "a", "price": 1.0}, {"name": "b", "price": 2}, {"name": "c", "price": "3"}]
    bus = scene.bus
    message = message_of(lambda: bus.given_event("order.counted", {"items": items}))

    assert message.splitlines() == [
        f"given_event: order.counted ({scene.directory}/order.counted.avsc) cannot be written",
        "  payload.items[2].price: expected double, got str",
    ]


def test_a_missing_schema_says_where_it_was_looked_for(scene: Scene) -> None:
    message = message_of(lambda: scene.bus.given_event("order.placd", {}))
    assert message == (
        "given_event: order.placd has no schema: there is neither order.placd.avsc nor order.placd.json under "
        f"{scene.directory}, did you mean order.placed? (schema_path)"
    )
    nowhere = MockBus(Kaufmann("orders", schema_path="/nowhere"))
    message = message_of(lambda: nowhere.given_event("query.req.stock", {}))
    assert (
        "there is neither query.req.avsc nor query.req.stock.json under /nowhere (no such directory) (schema_path)"
        in message
    )


def test_a_failure_shows_what_was_emitted_and_the_handlers_traceback(scene: Scene) -> None:
    @scene.on("order.placed")
    def confirms_some(event: Event) -> Any:
        if event.payload["order_id"] == "A-1":
            return confirm(event)
        return event.payload["no such key"]

    bus = scene.bus
    placed(bus, "A-1")
    placed(bus, "A-2")
    bus.then_event("order.confirmed")
    message = message_of(lambda: bus.then_event("order.refused"))

    lines = message.splitlines()
    assert lines[0] == "order.refused was not emitted"
    assert lines[1].startswith(
        "order.refused has no schema: there is neither order.refused.avsc nor order.refused.json"
    )
    assert "  order.confirmed to orders (asked for before)" in lines
    assert "  event.error.order.placed to orders" in lines
    assert "  order.placed: handled" in lines
    assert re.search(r"order\.placed: its handler \(.*test_mock_bus\.py:\d+\) failed: KeyError: 'no such key'", message)
    trace = message[message.index("Traceback") :]
    assert re.findall(r'File ".*/(.*)", line', trace) == ["test_mock_bus.py"]
    assert trace.splitlines()[-1] == "  KeyError: 'no such key'"


def test_another_payload_shows_expected_differences_and_emitted(scene: Scene) -> None:
    scene.on("order.placed")(lambda _: ("order.counted", {"items": [{"name": "a", "price": 1.5}]}))
    bus = scene.bus
    placed(bus)
    message = message_of(lambda: bus.then_event("order.counted", {"items": [{"name": "a", "price": 1.0}]}))

    assert message.splitlines() == [
        "order.counted was emitted with another payload",
        "  payload.items[0].price: expected 1.0, got 1.5",
        "",
        "Expected:",
        "  order.counted",
        "    {'items': [{'name': 'a', 'price': 1.0}]}",
        "",
        "Emitted:",
        "  order.counted to orders",
        "    {'items': [{'name': 'a', 'price': 1.5}]}",
        "",
        "Given:",
        "  order.placed: handled",
    ]


def test_an_expectation_that_its_schema_does_not_allow_is_told(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    bus = scene.bus
    placed(bus)
    message = message_of(lambda: bus.then_event("order.confirmed", {"order_id": 1}))

    assert message.splitlines()[1:3] == [
        "the payload expected here cannot be written: payload.order_id: expected string, got int",
        "  payload.order_id: expected 1, got 'A-1'",
    ]


# --- around it


def test_faults_of_settings_and_handlers_are_found_first(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    scene.on("order.placed")(confirm)
    with pytest.raises(ConfigError, match="registered twice"):
        _ = scene.bus
    with pytest.raises(ConfigError, match="max_demand"):
        MockBus(scene.service(max_demand=0))
    (scene.directory / "bad.avsc").write_text("{")
    with pytest.raises(ConfigError, match=r"bad\.avsc"):
        MockBus(scene.service())


def test_what_is_no_service_is_refused(scene: Scene) -> None:
    with pytest.raises(TypeError, match="expected the service's Kaufmann object or its Celery app, got Celery"):
        MockBus(Celery())


def test_a_service_may_be_named_by_its_celery_app(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    bus = MockBus(scene.kaufmann.celery)

    bus.given_event("order.placed", {"order_id": "1"})

    bus.then_event("order.confirmed")


def test_two_buses_know_nothing_of_each_other(scene: Scene) -> None:
    scene.on("order.placed")(confirm)
    one, other = scene.bus, scene.bus
    placed(one)

    assert (len(one.emitted), len(other.emitted)) == (1, 0)
    placed(other, "A-2")
    other.then_event("order.confirmed", {"order_id": "A-2"})


def test_an_inner_bus_gives_its_place_back(scene: Scene) -> None:
    with scene.bus as outer:
        with scene.bus as inner:
            scene.kaufmann.publish("order.placed", {"order_id": "A-1"})
        scene.kaufmann.publish("order.placed", {"order_id": "A-2"})

    inner.then_event("order.placed", {"order_id": "A-1"})
    outer.then_event("order.placed", {"order_id": "A-2"})
    outer.then_no_event()


def test_no_thread_is_left_behind(scene: Scene) -> None:
    scene.on("order.placed", max_retries=2)(confirm)
    before = set(threading.enumerate())
    with scene.bus as bus:
        placed(bus)

    assert set(threading.enumerate()) <= before
