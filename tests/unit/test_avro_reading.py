"""How a record says which schema wrote it. The real client gets its answers from memory."""

from __future__ import annotations

import json
import struct
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from kaufmann_celery.config import Config, load_config
from kaufmann_celery.errors import DecodeError, EncodeError, EventError, UnavailableError
from kaufmann_celery.registry.client import SchemaNotFound, SchemaRegistry
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.transcoders.configured import Transcoders
from kaufmann_celery.transcoders.reading import AvroReader
from kaufmann_celery.transcoders.subjects import subject_candidates, subject_of
from kaufmann_celery.transcoders.writing import AvroWriter


class InMemory(BaseAdapter):
    """Answers like a registry that holds these subjects' versions; ids count from 1."""

    def __init__(self, **subjects: list[Any]) -> None:
        super().__init__()
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.away = False
        number = 0
        for subject, schemas in subjects.items():
            path = f"/subjects/{subject}/versions"
            self.answers[path] = list(range(1, len(schemas) + 1))
            for version, schema in enumerate(schemas, 1):
                number += 1
                said = {"id": number, "version": version, "subject": subject, "schema": json.dumps(schema)}
                self.answers[f"{path}/{version}"] = self.answers[f"{path}/latest"] = said
                self.answers[f"/schemas/ids/{number}"] = {"schema": said["schema"]}
                self.answers[f"/schemas/guids/{uuid.UUID(int=number)}"] = {"schema": said["schema"]}

    def send(self, request: requests.PreparedRequest, *_args: Any, **_options: Any) -> requests.Response:
        path = request.path_url
        self.asked.append(path)
        response = requests.Response()
        found = self.answers.get(path)
        response.status_code = 503 if self.away else 404 if found is None else 200
        response._content = json.dumps({"error_code": 40403} if found is None else found).encode()
        return response

    def close(self) -> None:
        pass


def registry_of(memory: InMemory) -> SchemaRegistry:
    session = requests.Session()
    session.mount("http://", memory)
    return SchemaRegistry(["http://registry"], session=session)


def transcoders_of(memory: InMemory, config: Config | None = None) -> Transcoders:
    config = config or load_config("shop", keywords={}, conf={}, environ={})
    return Transcoders(config, registry=registry_of(memory))


def record(*fields: tuple[str, Any], name: str = "r") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": [{"name": key, "type": kind} for key, kind in fields]}


TWO_TEXTS = record(("a", "string"), ("b", "string"))
BODY = b"\x04hi\x04yo"
VALUE = {"a": "hi", "b": "yo"}


def test_our_header_names_the_schema_whatever_the_subject_holds_now() -> None:
    reader = AvroReader(registry_of(InMemory(x=[TWO_TEXTS, record(("a", "int"))])))
    found = reader.read("x", BODY, {"kaufmann-schema-id": b"1"})
    assert (found.payload, found.meta, found.schema_id, found.schema_name) == (VALUE, {}, 1, "r")


@pytest.mark.parametrize("header", [b"\x00\x00\x00\x00\x01", b"\x01" + uuid.UUID(int=1).bytes])
def test_confluents_header_names_the_schema(header: bytes) -> None:
    reader = AvroReader(registry_of(InMemory(x=[TWO_TEXTS])))
    assert reader.read(None, BODY, {"__value_schema_id": header}).payload == VALUE


def test_a_prefix_names_the_schema() -> None:
    reader = AvroReader(registry_of(InMemory(x=[TWO_TEXTS])))
    for subject in (None, "x", "unknown"):
        found = reader.read(subject, b"\x00\x00\x00\x00\x01" + BODY, {})
        assert (found.payload, found.schema_id) == (VALUE, 1)


def test_bare_avro_that_begins_with_zero_is_not_taken_for_a_prefix() -> None:
    reader = AvroReader(registry_of(InMemory(x=[TWO_TEXTS])))
    assert reader.read("x", b"\x00\x0812\xc3\xa9", {}).payload == {"a": "", "b": "12é"}


def test_a_prefix_whose_schema_leaves_bytes_over_is_bare_avro() -> None:
    bare = record(("a", ["null", "int"]), ("b", {"type": "fixed", "name": "f", "size": 4}))
    reader = AvroReader(registry_of(InMemory(other=[record(name="empty")], x=[bare])))
    assert reader.read("x", b"\x00\x00\x00\x00\x01", {}).schema_name == "empty"
    bare_body = b"\x02\x02" + b"abcd"
    assert reader.read("x", bare_body, {}).payload == {"a": 1, "b": b"abcd"}
    wide = record(("a", ["null", "int"]), ("b", {"type": "fixed", "name": "f", "size": 5}))
    reader = AvroReader(registry_of(InMemory(other=[record(name="empty")], x=[wide])))
    assert reader.read("x", b"\x00\x00\x00\x00\x01\x07", {}).payload == {
        "a": None,
        "b": b"\x00\x00\x00\x01\x07",
    }


def test_stray_prefixes_cost_a_bounded_number_of_questions() -> None:
    nullable = record(("a", ["null", "int"]), ("b", "string"))
    memory = InMemory(x=[nullable])
    reader = AvroReader(registry_of(memory))
    for number in range(200):
        text = f"{number:04}"
        assert reader.read("x", b"\x00\x08" + text.encode(), {}).payload == {"a": None, "b": text}
    assert len(memory.asked) < 25
    assert reader.read("x", struct.pack(">bI", 0, 1) + b"\x02\x02\x02z", {}).payload == {"a": 1, "b": "z"}


def test_older_versions_are_tried_newest_first_and_the_fitting_one_is_remembered() -> None:
    versions = [
        record(("a", "int")),
        TWO_TEXTS,
        record(("a", "string")),
        record(("a", "string"), ("b", "double")),
    ]
    memory = InMemory(x=versions)
    reader = AvroReader(registry_of(memory))
    for _ in range(5):
        assert reader.read("x", BODY, {}).payload == VALUE
    assert reader.read("x", b"\x02", {}).payload == {"a": 1}
    assert reader.read("x", b"\x02z", {}).payload == {"a": "z"}
    assert sorted(memory.asked) == sorted(set(memory.asked))


@pytest.mark.parametrize(
    "value",
    [
        BODY, b"\x02", b"\x02z", b"\x00\x0812\xc3\xa9", b"", b"\0", b"\x00\x00\x00", BODY + b"7",
        *(struct.pack(">bI", 0, schema_id) + body for schema_id in (0, 1, 2, 3, 99) for body in (BODY, b"\x02", b"")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("local", [None, "x", "event.error"])
@pytest.mark.parametrize("subjects", [("x",), ("x", "event.error"), ("unknown", "x"), ("unknown",)])
def test_what_is_read_quickly_is_what_is_read(
    value: bytes, local: str | None, subjects: tuple[str, ...], tmp_path: Path
) -> None:
    if local:
        (tmp_path / f"{local}.avsc").write_text(json.dumps(record(("a", "string"))))
    memory = InMemory(**{"x": [record(("a", "int")), record(("a", "string")), TWO_TEXTS], "event.error": [TWO_TEXTS]})
    registry = registry_of(memory)
    reader = AvroReader(registry, LocalSchemas([tmp_path]) if local else None)

    def read(call: Any, *more: Any) -> Any:
        try:
            return call(subjects, value, *more)
        except EventError as error:
            return type(error)

    assert reader.read_quickly(subjects, value) is None, "nothing is at hand yet"
    with suppress(SchemaNotFound):
        registry.latest(subjects[0])  # as who asks whether an event is known
    found = read(reader.read, {})
    asked = len(memory.asked)

    quickly = read(reader.read_quickly)

    assert quickly in (None, DecodeError, found)
    if subjects[0] == "x" and value in (BODY, struct.pack(">bI", 0, 3) + BODY):
        assert quickly == found
    assert len(memory.asked) == asked


def test_what_no_version_fits_is_a_decode_error() -> None:
    reader = AvroReader(registry_of(InMemory(x=[record(("a", "int")), TWO_TEXTS])))
    with pytest.raises(DecodeError):
        reader.read("x", BODY + b"7", {})


def test_what_names_no_schema_is_not_found() -> None:
    reader = AvroReader(registry_of(InMemory(x=[TWO_TEXTS])))
    for subject, value in ((None, BODY), ("unknown", BODY), (None, b""), (("a", "b"), BODY)):
        with pytest.raises(SchemaNotFound):
            reader.read(subject, value, {})


def test_an_id_that_the_registry_does_not_have_is_not_guessed_around() -> None:
    reader = AvroReader(registry_of(InMemory(x=[TWO_TEXTS])))
    with pytest.raises(SchemaNotFound):
        reader.read("x", BODY, {"kaufmann-schema-id": b"99"})


@pytest.mark.parametrize(
    "headers",
    [{"kaufmann-schema-id": b"x"}, {"kaufmann-schema-id": b"9" * 50}, {"__value_schema_id": b"\x01abc"}],
)
def test_a_garbled_header_is_a_decode_error(headers: dict[str, bytes]) -> None:
    with pytest.raises(DecodeError):
        AvroReader(registry_of(InMemory(x=[TWO_TEXTS]))).read("x", BODY, headers)


def test_the_first_of_several_subjects_that_is_registered_counts() -> None:
    reader = AvroReader(registry_of(InMemory(**{"event.error": [TWO_TEXTS]})))
    assert reader.read(subject_candidates("event.error.x"), BODY, {}).payload == VALUE


@pytest.mark.parametrize(
    ("value", "headers"),
    [(BODY, {}), (BODY, {"kaufmann-schema-id": b"1"}), (b"\x00\x00\x00\x00\x01" + BODY, {})],
)
def test_a_registry_that_is_away_passes_through(value: bytes, headers: dict[str, bytes]) -> None:
    memory = InMemory(x=[TWO_TEXTS])
    memory.away = True
    with pytest.raises(UnavailableError):
        AvroReader(registry_of(memory)).read("x", value, headers)


def test_a_schema_in_schema_path_is_the_reader_schema(tmp_path: Path) -> None:
    newer = record(("a", "string"), ("b", "string"))
    newer["fields"].append({"name": "c", "type": "int", "default": 7})
    (tmp_path / "x.avsc").write_text(json.dumps(newer))
    reader = AvroReader(registry_of(InMemory(x=[TWO_TEXTS])), LocalSchemas([tmp_path]))
    for value, headers in (
        (BODY, {}),
        (BODY, {"kaufmann-schema-id": b"1"}),
        (b"\x00\x00\x00\x00\x01" + BODY, {}),
    ):
        assert reader.read("x", value, headers).payload == VALUE | {"c": 7}
    assert reader.read(None, BODY, {"kaufmann-schema-id": b"1"}).payload == VALUE


def test_raw_framing_is_the_bare_body_and_a_header() -> None:
    written = AvroWriter(registry_of(InMemory(y=["int"], x=[TWO_TEXTS]))).write("x", VALUE, {"message_id": "m"})
    assert (written.value, written.headers, written.carries_meta) == (
        BODY,
        (("kaufmann-schema-id", b"2"),),
        False,
    )


def test_confluent_framing_is_a_prefix_and_no_header() -> None:
    written = AvroWriter(registry_of(InMemory(x=[TWO_TEXTS])), framing="confluent").write("x", VALUE, {})
    assert (written.value, written.headers) == (b"\x00\x00\x00\x00\x01" + BODY, ())


def test_the_latest_version_is_written() -> None:
    writer = AvroWriter(registry_of(InMemory(x=[TWO_TEXTS, record(("a", "string"))])))
    assert writer.write("x", {"a": "z"}, {}).headers == (("kaufmann-schema-id", b"2"),)
    with pytest.raises(EncodeError, match=r"payload\.b"):
        writer.write("x", VALUE, {})


def test_writing_to_no_subject_is_not_found() -> None:
    with pytest.raises(SchemaNotFound):
        AvroWriter(registry_of(InMemory())).write("x", {}, {})


@pytest.mark.parametrize(
    ("name", "subject", "candidates"),
    [
        ("order.placed", "order.placed", ("order.placed",)),
        ("query.req.some.thing", "query.req", ("query.req",)),
        ("query.res.x", "query.res", ("query.res",)),
        ("event.error", "event.error", ("event.error",)),
        ("event.error.order.placed", "event.error", ("event.error.order.placed", "event.error")),
        ("event.errors", "event.errors", ("event.errors",)),
    ],
)
def test_subjects_are_those_of_kaufmann_ex(name: str, subject: str, candidates: tuple[str, ...]) -> None:
    assert subject_of(name) == subject
    assert subject_candidates(name) == candidates
