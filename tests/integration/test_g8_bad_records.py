"""Records that cannot be read: each becomes one error event and one dead letter, and the next event is handled."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.scene import MEBIBYTE, Scene, avro, scene

META = {
    "type": "record",
    "name": "bad.meta",
    "fields": [{"name": "message_id", "type": "string"}, {"name": "message_name", "type": "string"}],
}
PAYLOAD = {"type": "record", "name": "bad.payload", "fields": [{"name": "id", "type": "string"}]}
PLACED = {
    "type": "record",
    "name": "bad.placed",
    "fields": [{"name": "meta", "type": META}, {"name": "payload", "type": PAYLOAD}],
}
PLAIN = {"type": "record", "name": "bad.plain", "fields": [{"name": "id", "type": "string"}]}
NODE = {"type": "record", "name": "bad.node", "fields": [{"name": "child", "type": ["null", "bad.node"]}]}
MAPPED = {
    "type": "record",
    "name": "bad.mapped",
    "fields": [{"name": "values", "type": {"type": "map", "values": "string"}}],
}
#: A service's own schema for the error events of one name: it keeps the bytes as they were.
RAW_ERROR = {
    "type": "record",
    "name": "bad.raw_error",
    "fields": [{"name": "error", "type": "string"}, {"name": "message_payload", "type": ["null", "bytes"]}],
}
#: What was `bad.evolved` once, and what it is now; neither reads the other.
OLD = {"type": "record", "name": "bad.evolved", "fields": [{"name": "id", "type": "string"}]}
NEW = {
    "type": "record",
    "name": "bad.evolved",
    "fields": [
        {"name": "amount", "type": "double"},
        {"name": "id", "type": {"type": "fixed", "name": "i", "size": 12}},
    ],
}


def nest(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


SERVICE = """
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery

@kaufmann.on("bad.placed", "bad.plain", "bad.unregistered", "bad.evolved", "bad.raw")
def handle(event):
    name = event.payload["id"]
    return Output("bad.handled", {"id": name if isinstance(name, str) else name.decode()}, format="json")

@kaufmann.on("bad.node")
def measure(event):
    depth, node = 1, event.payload
    while node["child"] is not None:
        depth, node = depth + 1, node["child"]
    return Output("bad.handled", {"id": f"depth {depth}"}, format="json")

@kaufmann.on("bad.mapped")
def mirror(event):
    return Output("bad.handled", {"id": "mapped", "values": event.payload["values"]}, format="json")
"""


@pytest.fixture(scope="module")
def bad(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    schemas = {
        "bad.placed": PLACED, "bad.plain": PLAIN, "bad.node": NODE, "bad.mapped": MAPPED, "bad.evolved": OLD,
        "bad.raw": PLAIN, "event.error.bad.raw": RAW_ERROR,
    }  # fmt: skip
    with scene(tmp_path_factory.mktemp("records"), stack, SERVICE, name="records", schemas=schemas) as one:
        one.registry.register("bad.evolved", NEW)
        one.service.start()
        yield one


def placed(number: str, name: str = "") -> bytes:
    return avro(PLACED, {"meta": {"message_id": f"m-{number}", "message_name": name}, "payload": {"id": number}})


def schema_id(bad: Scene, subject: str) -> list[tuple[str, bytes]]:
    return [("kaufmann-schema-id", str(bad.registry.latest(subject).id).encode())]


def check_undecodable(
    bad: Scene,
    key: bytes | None,
    value: bytes | None,
    headers: list[tuple[str, bytes]] | None = None,
    *,
    name: str = "bad.placed",
    error_type: str = "DecodeError",
    **where: Any,
) -> dict[str, Any]:
    """Send the record; check its error event and dead letter, and return the error event's payload."""
    position = bad.send(key, value, headers or [], **where)
    found = bad.one_error_event(position, name=name, error_type=error_type)
    (letter,) = [one for one in bad.kafka.read(bad.dead) if one.original == position]
    assert (letter.key, letter.value) == (key, value)
    assert letter.headers[: len(headers or [])] == tuple(headers or [])
    bad.check_failure_headers(letter, position, error_type=error_type)
    payload = bad.payload_of(found)
    assert str(position) not in payload.get("error", "")
    return payload


def test_a_truncated_value_becomes_one_error_event_with_the_raw_value(bad: Scene) -> None:
    payload = check_undecodable(bad, b"bad.placed", placed("cut")[:-1])

    assert payload["error_type"] == "DecodeError"
    assert payload["message_payload"] == placed("cut")[:-1].decode()
    assert payload["position"].startswith(f"{bad.name}:0:")


def test_one_byte_too_many_becomes_one_error_event(bad: Scene) -> None:
    assert "left over" in check_undecodable(bad, b"bad.placed", placed("long") + b"\1")["error"]


def test_a_tombstone_becomes_one_error_event(bad: Scene) -> None:
    assert check_undecodable(bad, b"bad.placed#key", None)["message_payload"] is None


def test_a_record_without_key_and_value_becomes_one_error_event_of_an_unknown_event(bad: Scene) -> None:
    position = bad.kafka.send_nothing(bad.name, [("trace", b"kept")])

    bad.one_error_event(position, name="unknown", error_type="DecodeError")

    (letter,) = [one for one in bad.kafka.read(bad.dead) if one.original == position]
    assert (letter.key, letter.value, letter.header["trace"]) == (b"", None, b"kept")


def test_an_empty_value_becomes_one_error_event(bad: Scene) -> None:
    assert check_undecodable(bad, b"bad.placed", b"")["message_payload"] == ""


def test_bytes_that_are_no_text_are_shown_escaped(bad: Scene) -> None:
    assert check_undecodable(bad, b"bad.placed", b"\xff\xfe")["message_payload"] == "\\xff\\xfe"


def test_an_error_schema_with_bytes_keeps_the_raw_value(bad: Scene) -> None:
    payload = check_undecodable(bad, b"bad.raw", b"\xff\xfe", name="bad.raw")

    assert payload["message_payload"] == b"\xff\xfe"


def test_without_key_and_header_the_error_event_is_of_an_unknown_event(bad: Scene) -> None:
    check_undecodable(bad, None, placed("nameless"), name="unknown", error_type="SchemaNotFound")


def test_without_key_the_name_comes_from_meta(bad: Scene) -> None:
    bad.send(None, placed("by-meta", name="bad.plain"), schema_id(bad, "bad.placed"))

    bad.handled("by-meta")


def test_without_key_and_meta_the_name_is_the_schemas(bad: Scene) -> None:
    bad.send(None, avro(PLAIN, {"id": "by-schema"}), schema_id(bad, "bad.plain"))

    bad.handled("by-schema")


def test_a_key_that_is_not_utf_8_becomes_one_error_event_of_an_unknown_event(bad: Scene) -> None:
    check_undecodable(bad, b"\xff\xfe", placed("key"), name="unknown")


def test_a_ce_type_header_that_is_not_utf_8_becomes_one_error_event_of_an_unknown_event(bad: Scene) -> None:
    check_undecodable(bad, None, placed("ce"), [("ce_type", b"\xff")], name="unknown")


def test_a_name_without_a_subject_becomes_one_error_event(bad: Scene) -> None:
    check_undecodable(bad, b"bad.unregistered", placed("subject"), name="bad.unregistered", error_type="SchemaNotFound")


def test_an_unknown_id_in_the_schema_header_becomes_one_error_event(bad: Scene) -> None:
    headers: list[tuple[str, bytes]] = [("kaufmann-schema-id", b"2000000000")]

    check_undecodable(bad, b"bad.placed", placed("id"), headers, error_type="SchemaNotFound")


@pytest.mark.parametrize("header", [b"seven", b"", b"99999999999999", b"-1"])
def test_a_schema_header_that_is_no_id_becomes_one_error_event(bad: Scene, header: bytes) -> None:
    found = headers_of_failure(bad, b"bad.placed", placed("header"), [("kaufmann-schema-id", header)])

    assert found["kaufmann-error-type"] in (b"DecodeError", b"SchemaNotFound")


def test_a_confluent_prefix_with_an_unknown_id_becomes_one_error_event(bad: Scene) -> None:
    check_undecodable(bad, b"bad.placed", struct.pack(">bI", 0, 2_000_000_000) + placed("prefix"))


def test_a_confluent_prefix_with_a_known_id_is_handled(bad: Scene) -> None:
    known = bad.registry.latest("bad.placed").id
    bad.send(b"bad.placed", struct.pack(">bI", 0, known) + placed("known"))

    bad.handled("known")


def test_two_mebibytes_become_an_error_event_without_payload_and_a_whole_dead_letter(bad: Scene) -> None:
    value = avro(PLAIN, {"id": "x" * (2 * MEBIBYTE)})

    payload = check_undecodable(bad, b"bad.plain", value, name="bad.plain", error_type="EventTooLarge")

    assert payload["message_payload"] is None


def test_an_undecodable_value_just_under_the_limit_becomes_an_error_event_without_payload(bad: Scene) -> None:
    payload = check_undecodable(bad, b"bad.plain", b"\xff" * (MEBIBYTE - 10), name="bad.plain")

    assert payload["message_payload"] is None


def test_a_key_of_two_mebibytes_becomes_one_error_event_that_fits(bad: Scene) -> None:
    position = bad.send(b"bad.plain#" + b"k" * (2 * MEBIBYTE), avro(PLAIN, {"id": "key"}))

    (found,) = bad.error_events(position)

    assert found.header["kaufmann-error-type"] == b"EventTooLarge"


def test_headers_of_two_mebibytes_become_one_error_event(bad: Scene) -> None:
    headers: list[tuple[str, bytes]] = [("trace", b"t" * (2 * MEBIBYTE))]

    check_undecodable(
        bad, b"bad.plain", avro(PLAIN, {"id": "h"}), headers, name="bad.plain", error_type="EventTooLarge"
    )


def test_old_events_are_read_by_the_version_that_wrote_them(bad: Scene) -> None:
    bad.send(b"bad.evolved", avro(OLD, {"id": "old"}))
    bad.send(b"bad.evolved", avro(NEW, {"amount": 1.5, "id": b"twelve bytes"}))
    bad.send(b"bad.evolved", avro(OLD, {"id": "older"}), partition=1)

    bad.handled("old", "older", "twelve bytes")


@pytest.mark.parametrize(
    "meta",
    [
        b"\xff",
        b"{",
        b"[1]",
        b"null",
        b"[" * 100_000,
        b'{"message_name": "\\ud800"}',
        b'{"a": ' * 700 + b"0" + b"}" * 700,
    ],
)
def test_a_meta_header_that_is_no_json_object_becomes_one_error_event(bad: Scene, meta: bytes) -> None:
    check_undecodable(bad, b"bad.plain", avro(PLAIN, {"id": "m"}), [("kaufmann-meta", meta)], name="bad.plain")


@pytest.mark.parametrize(
    "meta",
    [
        {"callback_topic": {"topic": "t", "partition": "none"}},
        {"callback_topic": {"topic": ["t"], "partition": 2**70}},
        {"callback_topic": {"topic": "no such topic", "partition": 0}},
        {"callback_topic": "t", "callback_id": {"a": [1]}, "message_id": [], "message_name": 7},
        {"callback_id": "c" * 1_000_000},
        {"callback_id": nest(600), "message_id": nest(600)},
    ],
)
def test_a_meta_header_with_odd_values_stops_nothing(bad: Scene, meta: dict[str, Any]) -> None:
    headers: list[tuple[str, bytes]] = [("kaufmann-meta", json.dumps(meta).encode())]

    headers_of_failure(bad, b"bad.plain", b"\xff", headers)


def test_headers_are_kept_in_the_dead_letter_in_their_order(bad: Scene) -> None:
    check_undecodable(bad, b"bad.placed", b"", [("twice", b"2"), ("empty", b""), ("raw", b"\xff"), ("twice", b"1")])


def test_300_levels_are_handled(bad: Scene) -> None:
    bad.send(b"bad.node", nested(300))

    bad.handled("depth 300")


@pytest.mark.parametrize("levels", [4_000, 10_000, 500_000])
def test_thousands_of_levels_become_one_error_event(bad: Scene, levels: int) -> None:
    assert "deeper" in check_undecodable(bad, b"bad.node", nested(levels), name="bad.node")["error"]


def test_keys_that_mean_something_to_celery_are_handled_unchanged(bad: Scene) -> None:
    values = {"__type__": "datetime", "__value__": "yesterday", "~:date": "2024-02-30", "~:=bytes": "?", "": ""}
    bad.send(b"bad.mapped", avro(MAPPED, {"values": values}))

    (found,) = bad.handled("mapped")

    assert found["values"] == values


@pytest.mark.parametrize("timestamp_ms", [0, 1_732_382_000_123, 4_102_444_799_999, 253_402_300_800_000, 2**60])
def test_any_timestamp_that_kafka_takes_is_handled(bad: Scene, timestamp_ms: int) -> None:
    bad.send(b"bad.plain", avro(PLAIN, {"id": f"at {timestamp_ms}"}), timestamp_ms=timestamp_ms)

    bad.handled(f"at {timestamp_ms}")
    bad.handles_what_follows()


def test_the_ingester_survived_all_of_it(bad: Scene) -> None:
    assert bad.service.is_alive("ingester")
    assert bad.service.is_alive("worker")
    assert "Traceback" not in bad.service.log("ingester")


def nested(levels: int) -> bytes:
    return b"\2" * (levels - 1) + b"\0"


def headers_of_failure(
    bad: Scene, key: bytes, value: bytes, headers: list[tuple[str, bytes]]
) -> dict[str, bytes | None]:
    (found,) = bad.error_events(bad.send(key, value, headers))
    return found.header
