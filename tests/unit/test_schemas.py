from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.errors import ConfigError
from kaufmann_celery.registry.local_schemas import LocalSchemas, shipped_error_schema
from kaufmann_celery.transcoders.avro import AvroSchema


def put(directory: Path, name: str, schema: Any) -> Path:
    file = directory / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(schema if isinstance(schema, str) else json.dumps(schema), encoding="utf-8")
    return file


def event(name: str, meta: Any = "event_metadata") -> dict[str, Any]:
    fields = [{"name": "meta", "type": meta}, {"name": "payload", "type": "string"}]
    return {"type": "record", "name": name, "fields": fields}


METADATA = {"type": "record", "name": "event_metadata", "fields": [{"name": "message_id", "type": "string"}]}
PLAIN = {"type": "record", "name": "plain", "fields": [{"name": "a", "type": "int"}]}


def test_files_are_found_at_any_depth_and_named_after_their_subject(tmp_path: Path) -> None:
    first = put(tmp_path, "order.placed.avsc", PLAIN)
    second = put(tmp_path, "deep/er/event_metadata.avsc", METADATA)
    put(tmp_path, "order.json", {})
    schemas = LocalSchemas([tmp_path])
    assert list(schemas.subjects().items()) == [("event_metadata", second), ("order.placed", first)]
    assert schemas.schema("order.placed") == PLAIN
    assert schemas.schema("unknown") is None


def test_a_directory_that_is_not_there_holds_no_schemas(tmp_path: Path) -> None:
    assert LocalSchemas([tmp_path / "none"]).subjects() == {}


@pytest.mark.parametrize("name", ["event.a", "test.command.b", "query.req"])
def test_kaufmann_exs_names_are_a_union_with_the_metadata(tmp_path: Path, name: str) -> None:
    put(tmp_path, "event_metadata.avsc", METADATA)
    put(tmp_path, f"{name}.avsc", event("x"))
    assert LocalSchemas([tmp_path]).schema(name) == [METADATA, event("x")]


def test_any_name_is_such_a_union_where_its_schema_needs_the_type(tmp_path: Path) -> None:
    put(tmp_path, "event_metadata.avsc", METADATA)
    put(tmp_path, "order.placed.avsc", event("x"))
    assert LocalSchemas([tmp_path]).schema("order.placed") == [METADATA, event("x")]


def test_a_schema_that_defines_the_type_itself_stays_as_it_is(tmp_path: Path) -> None:
    put(tmp_path, "event.a.avsc", event("x", METADATA))
    assert LocalSchemas([tmp_path]).schema("event.a") == event("x", METADATA)


@pytest.mark.parametrize("name", ["event_metadata", "seven.cloud.services.event_metadata", "a.event_metadata"])
def test_the_shipped_metadata_stands_in_under_the_name_that_is_used(tmp_path: Path, name: str) -> None:
    put(tmp_path, "order.placed.avsc", event("x", name))
    schema = AvroSchema(LocalSchemas([tmp_path]).schema("order.placed"))
    assert schema.carries_meta


def test_every_file_at_fault_is_named(tmp_path: Path) -> None:
    broken = put(tmp_path, "a.avsc", "{")
    invalid = put(tmp_path, "b.avsc", {"type": "record", "name": "b", "fields": [{"name": "x", "type": "nowhere"}]})
    binary = tmp_path / "c.avsc"
    binary.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError) as caught:
        LocalSchemas([tmp_path])
    message = str(caught.value)
    assert all(str(file) in message for file in (broken, invalid, binary))
    assert "nowhere" in message


def test_two_files_for_one_subject_are_a_fault(tmp_path: Path) -> None:
    put(tmp_path, "a/x.avsc", PLAIN)
    put(tmp_path, "b/x.avsc", PLAIN)
    with pytest.raises(ConfigError, match="already"):
        LocalSchemas([tmp_path])


def test_the_shipped_error_schema_takes_what_an_error_event_has() -> None:
    schema = AvroSchema(shipped_error_schema())
    meta = {
        "message_id": "m",
        "emitter_service": "s",
        "emitter_service_id": "i",
        "message_name": "event.error.x",
        "timestamp": "2024-01-01T00:00:00Z",
    }
    payload = {"error": "e", "error_type": "E", "message_payload": "{}", "attempts": 3, "position": "t:0:1"}
    assert schema.name == "event.error"
    assert schema.decode(schema.encode(payload, meta))[0] == payload
    assert schema.decode(schema.encode({}, meta))[0] == dict.fromkeys(payload)
