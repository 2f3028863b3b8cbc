"""One service, every way to write an event: framings, formats, versions, callbacks, functions and hooks of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from kaufmann_celery.event import Position
from tests.integration.free_ports import free_ports
from tests.integration.kafka_topics import Found
from tests.integration.scene import Scene, avro, scene
from tests.integration.service_process import eventually, unique
from tests.unit.test_avro import text
from tests.unit.test_wire import METADATA, event_of, metadata, record_of

ID = ("id", "string")
FIRST: dict[str, Any] = {"type": "record", "name": "mixed.placed", "fields": [{"name": "id", "type": "string"}]}
SECOND = {**FIRST, "fields": [*FIRST["fields"], {"name": "sum", "type": "int"}]}
THIRD = {**SECOND, "fields": [*SECOND["fields"], {"name": "note", "type": ["null", "string"]}]}
#: Each version with what it has besides the id.
VERSIONS: list[tuple[Any, dict[str, Any]]] = [(FIRST, {}), (SECOND, {"sum": 7}), (THIRD, {"sum": 7, "note": None})]
UNION = [METADATA, event_of("event.mixed.told", record_of(ID))]
SCHEMA = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}

SERVICE = """
from pathlib import Path
from kaufmann_celery import Kaufmann, Middleware, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


class Noting(Middleware):
    def note(self, word):
        with Path("hooks").open("a") as file:
            file.write(word + "\\n")

    def decode(self, record):
        decoded = yield
        self.note(f"decode {decoded.name if decoded else None}")

    def handle(self, event):
        outputs = yield
        self.note(f"handle {event.name} {len(outputs)}")
        if event.payload["id"] == "hook":
            raise RuntimeError("no luck with hooks")

    def publish(self, records):
        yield
        self.note(f"publish {len(records)}")
        raise RuntimeError("no luck in the ingester")

    def commit(self, offsets):
        yield
        self.note("commit")


kaufmann.middleware.append(Noting())


@kaufmann.on("mixed.*", "event.mixed.*")
def mixed(event):
    note = {"id": event.payload["id"], "name": event.name, "payload": event.payload}
    return Output("good.handled", note, format="json", reply=True, meta={"callback_id": event.meta.get("callback_id")})


@kaufmann.on("chosen.asked")
def chosen(event):
    yield Output("chosen.answered", event.payload, format="json")
    yield Output("chosen.answered", event.payload, topic=["NAME.out", "NAME.more"], format="json", key="k1")
"""
FUNCTIONS = """
def topic(output):
    if output.name != "chosen.answered":
        return "NAME.out"
    if output.payload["id"] == "topic raises":
        raise KeyError("no such tenant")
    return {"topic nonsense": 5}.get(output.payload["id"], ["NAME.one", "NAME.two"])


def partition(output, meta):
    if output.name == "chosen.answered" and output.payload["id"] == "partition nonsense":
        return "1"
    return 5


def event_metadata(name, context):
    if name == "chosen.answered" and context["message_id"] == "meta raises":
        raise ValueError("no meta")
    return {"tenant": "acme", "asked_by": context.get("message_id")}
"""


@pytest.fixture(scope="module")
def mixed(stack: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("mixed")
    (directory / "schemas").mkdir()
    for name in ("mixed.noted", "chosen.asked"):
        (directory / "schemas" / f"{name}.json").write_text(json.dumps(SCHEMA))
    settings = {
        "topic_strategy": "functions.topic", "partition_strategy": "functions.partition",
        "metadata_mod": "functions", "error_topic": "NAME.errors",
        # The first of them does not answer.
        "schema_registry_url": f"http://127.0.0.1:{free_ports(1)[0]},{stack['KAUFMANN_SCHEMA_REGISTRY_URL']}",
    }  # fmt: skip
    with scene(
        directory, stack, SERVICE, name="mixed", schemas={"mixed.placed": FIRST, "event.mixed.told": UNION},
        settings=settings, functions="",
    ) as one:  # fmt: skip
        (directory / "functions.py").write_text(FUNCTIONS.replace("NAME", one.name))
        for version in (SECOND, THIRD):
            one.registry.register("mixed.placed", version)
        for topic in ("one", "two", "more", "errors", "back"):
            one.kafka.create(f"{one.name}.{topic}")
        one.service.start()
        yield one


def placed(prefix: bytes, schema: Any, further: Mapping[str, Any], one: str) -> bytes:
    return prefix + avro(schema, {"id": one, **further})


def json_event(payload: Any, meta: Mapping[str, Any] | None = None) -> bytes:
    return json.dumps({"meta": meta, **payload} if meta else payload).encode()


def test_every_way_to_write_an_event_is_read_and_each_is_answered_once(mixed: Scene) -> None:
    """Prefix, headers and nothing; three versions; JSON with and without its header; KaufmannEx's union."""
    expected: dict[str, tuple[str, Any]] = {}

    def send(name: str, write: Callable[[str], bytes], further: Mapping[str, Any], *headers: tuple[str, bytes]) -> None:
        one = unique("sent")
        expected[one] = (name, {"id": one, **further})
        mixed.send(name.encode(), write(one), headers, partition=len(expected) % 2)

    for number, (schema, further) in enumerate(VERSIONS, 1):
        schema_id = mixed.registry.version("mixed.placed", number).id
        bare = partial(placed, b"", schema, further)
        prefix = b"\0" + schema_id.to_bytes(4, "big")
        send("mixed.placed", bare, further)
        send("mixed.placed", partial(placed, prefix, schema, further), further)
        send("mixed.placed", bare, further, ("kaufmann-schema-id", str(schema_id).encode()))
        send("mixed.placed", bare, further, ("__value_schema_id", prefix))
    for headers in ([], [("content-type", b"application/json")]):
        send("mixed.noted", lambda one: json_event({"id": one}, {"message_id": one}), {}, *headers)
        send("mixed.noted", lambda one: json_event({"id": one}), {}, *headers)
        send("mixed.unheard", lambda one: json_event({"id": one, "any": [1]}), {"any": [1]}, *headers)
    send("event.mixed.told", lambda one: b"\x02" + metadata("event.mixed.told") + text(one), {})

    answers = mixed.handled(*expected, name="good.handled")
    mixed.handles_what_follows()

    assert {one["id"]: (one["name"], one["payload"]) for one in answers} == expected
    assert len(expected) == 19
    keys = Counter(json.loads(one.value or b"{}").get("id") for one in mixed.kafka.read(mixed.out))
    assert {one: keys[one] for one in expected} == dict.fromkeys(expected, 1)
    assert mixed.kafka.read(f"{mixed.name}.errors") == []


def test_json_that_breaks_its_schema_is_an_error_event_that_names_the_field(mixed: Scene) -> None:
    position = mixed.send(b"mixed.noted", b'{"id": 5}', [("content-type", b"application/json")])
    found = mixed.one_error_event(position, name="mixed.noted", error_type="DecodeError", topic=errors(mixed))

    assert mixed.payload_of(found)["error"] == 'payload.id: breaks the rule {"type": "string"}'


def test_replies_go_to_the_callback_topic_and_partition_with_the_callback_id(mixed: Scene) -> None:
    one, back = unique("asked"), f"{mixed.name}.back"
    meta = {"message_id": one, "callback_id": f"c-{one}", "callback_topic": {"topic": back, "partition": 1}}
    mixed.send(b"mixed.noted", json_event({"id": one}, meta))
    mixed.handled(one, name="good.handled")
    (reply,) = mixed.kafka.await_records(back, lambda found: one.encode() in (found.value or b""))

    assert reply.position.partition == 1
    found = json.loads(reply.value or b"")
    assert found["meta"]["callback_id"] == f"c-{one}"
    assert (reply.header["kaufmann-parent-id"], reply.header["kaufmann-root-id"]) == (one.encode(), one.encode())


@pytest.mark.parametrize(
    "callback", [{"topic": "NAME.back", "partition": 99}, {"topic": "NAME.nowhere", "partition": 0}]
)
def test_a_callback_that_does_not_exist_is_the_events_failure(mixed: Scene, callback: dict[str, Any]) -> None:
    one = unique("asked")
    meta = {"message_id": one, "callback_topic": {**callback, "topic": callback["topic"].replace("NAME", mixed.name)}}
    position = mixed.send(b"mixed.noted", json_event({"id": one}, meta))

    found = mixed.one_error_event(position, name="mixed.noted", error_type="RefusedForGood", topic=errors(mixed))

    said = found.header["kaufmann-error-message"] or b""
    assert b"none with number 99" in said or b"does not exist" in said
    assert answers(mixed, one) == []


def answers(mixed: Scene, one: str) -> list[Found]:
    topics = [f"{mixed.name}.{topic}" for topic in ("out", "one", "two", "more", "back")]
    return [found for topic in topics for found in mixed.kafka.read(topic) if one.encode() in (found.value or b"")]


def errors(mixed: Scene) -> str:
    return f"{mixed.name}.errors"


def ask(mixed: Scene, what: str, message_id: str) -> Position:
    return mixed.send(b"chosen.asked", json_event({"id": what}, {"message_id": message_id}))


def test_functions_choose_topics_partitions_and_meta(mixed: Scene) -> None:
    one = unique("chosen")
    position = ask(mixed, one, one)
    eventually(lambda: len(answers(mixed, one)) == 4, "all topics have it")
    mixed.handles_what_follows()

    found = answers(mixed, one)
    assert sorted((record.position.topic.removeprefix(mixed.name), record.key) for record in found) == [
        (".more", b"chosen.answered#k1"), (".one", b"chosen.answered"), (".out", b"chosen.answered#k1"),
        (".two", b"chosen.answered"),
    ]  # fmt: skip
    assert {record.position.partition for record in found} == {1}
    for record in found:
        meta = json.loads(record.value or b"")["meta"]
        assert (meta["tenant"], meta["asked_by"], meta["emitter_service"]) == ("acme", one, mixed.name)
    assert [record for record in mixed.kafka.read(errors(mixed)) if record.original == position] == []


@pytest.mark.parametrize(
    ("what", "setting", "why"),
    [
        ("topic raises", "topic_strategy", "KeyError: 'no such tenant'"),
        ("topic nonsense", "topic_strategy", "returned 5, expected a topic"),
        ("partition nonsense", "partition_strategy", "returned str, expected a whole number"),
        ("meta raises", "metadata_mod", "ValueError: no meta"),
    ],
)
def test_a_function_that_fails_fails_its_event_and_no_other(mixed: Scene, what: str, setting: str, why: str) -> None:
    position = ask(mixed, what, what)

    found = mixed.one_error_event(position, name="chosen.asked", error_type="EncodeError", topic=errors(mixed))

    said = mixed.payload_of(found)["error"]
    assert setting in said
    assert why in said
    assert answers(mixed, what) == []


def test_a_hook_that_raises_fails_its_event_in_the_worker_and_nothing_in_the_ingester(mixed: Scene) -> None:
    position = mixed.send(b"mixed.noted", json_event({"id": "hook"}))
    mixed.one_error_event(position, name="mixed.noted", error_type="RuntimeError", topic=errors(mixed))

    hooks = Counter(line.partition(" ")[0] for line in (mixed.service.directory / "hooks").read_text().splitlines())
    assert set(hooks) == {"decode", "handle", "publish", "commit"}
    assert answers(mixed, '"hook"') == []
    assert "a hook of publish failed and is passed over" in mixed.service.log("ingester")
    assert mixed.service.is_alive("ingester")
