"""Which format an event is in, how JSON is read and written, and transcoders of the service's own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from kaufmann_celery.config import load_config
from kaufmann_celery.errors import ConfigError, DecodeError, EncodeError, UnavailableError
from kaufmann_celery.registry.client import SchemaNotFound
from kaufmann_celery.transcoders.configured import Transcoders, plugged
from kaufmann_celery.transcoders.json_schemas import JsonSchemas
from tests.unit.test_avro_reading import InMemory, record, registry_of

PLACED = record(("id", "string"), name="placed")
JSON = {"content-type": b"application/json"}
META = {"message_id": "m1", "message_name": "order.placed"}
A_NUMBER = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


class Scene:
    """`order.placed` is in Avro; each of *schemas* is a JSON Schema in `schema_path`."""

    def __init__(self, path: Path, schemas: Mapping[str, Any] | None = None, **settings: Any) -> None:
        for name, schema in (schemas or {}).items():
            (path / f"{name}.json").write_text(json.dumps(schema))
        self.memory = InMemory(**{"order.placed": [PLACED]})
        config = load_config("shop", keywords={"schema_path": path, **settings}, conf={}, environ={})
        self.transcoders = Transcoders(config, registry=registry_of(self.memory))

    def read(self, value: bytes | Any, name: str | None = "order.noted", headers: Mapping[str, bytes] = JSON) -> Any:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        found = self.transcoders.read(name, "orders", data, headers)
        return found.payload, found.meta

    def write(self, payload: Any, name: str = "order.noted", form: str | None = "json") -> Any:
        return self.transcoders.write(name, "orders", payload, META, form)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


class TestJsonIsRead:
    @pytest.mark.parametrize(
        ("value", "payload", "meta"),
        [
            ({"meta": META, "id": 1}, {"id": 1}, META),
            ({"meta": META, "payload": {"id": 1}}, {"id": 1}, META),
            ({"meta": META, "payload": "text"}, "text", META),
            ({"metadata": META, "payload": {"id": 1}}, {"id": 1}, META),
            ({"metadata": META, "id": 1}, {"metadata": META, "id": 1}, {}),
            ({"meta": META, "payload": 1, "id": 2}, {"payload": 1, "id": 2}, META),
            ({"meta": "none", "id": 1}, {"meta": "none", "id": 1}, {}),
            ({"meta": META}, {}, META),
            ({"id": 1}, {"id": 1}, {}),
            ({}, {}, {}),
        ],
    )
    def test_with_meta_beside_the_rest_or_an_envelope_or_neither(
        self, scene: Scene, value: Any, payload: Any, meta: Any
    ) -> None:
        assert scene.read(value) == (payload, meta)

    @pytest.mark.parametrize(
        "value",
        [b"", b"{", b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": "\\ud800"}', b'{"\xff": 1}', b"{} {}", b"[1]",
         b'"text"', b'{"a":' * 700 + b"0" + b"}" * 700, b'{"a":' * 50_000, b'{"a": ' + b"9" * 5000 + b"}",
         b"\xef\xbb\xbf{}"],
        ids=lambda value: repr(value[:20]),
    )  # fmt: skip
    def test_what_says_that_it_is_json_and_is_not_is_a_decode_error(self, scene: Scene, value: bytes) -> None:
        with pytest.raises(DecodeError):
            scene.read(value)

    @pytest.mark.parametrize("kind", [b"application/json; charset=utf-8", b"Application/JSON", b"application/x+json"])
    def test_a_content_type_claims_it_whatever_has_a_schema(self, scene: Scene, kind: bytes) -> None:
        assert scene.read({"id": 1}, "order.placed", {"content-type": kind}) == ({"id": 1}, {})

    def test_a_registry_that_is_away_does_not_hold_it_up(self, scene: Scene) -> None:
        scene.memory.away = True

        assert scene.read({"id": 1}) == ({"id": 1}, {})
        with pytest.raises(UnavailableError):
            scene.read({"id": 1}, headers={})


class TestWhichFormat:
    def test_an_event_without_any_schema_is_whatever_its_bytes_are(self, scene: Scene) -> None:
        assert scene.read({"id": 1}, headers={}) == ({"id": 1}, {})

    @pytest.mark.parametrize("order", ["avro,json", "json,avro"])
    def test_json_is_read_also_where_the_event_has_an_avro_schema(self, tmp_path: Path, order: str) -> None:
        """KaufmannEx sends it without a header, and tries every transcoder."""
        scene = Scene(tmp_path, transcoders=order)

        assert scene.read({"meta": META, "id": "A-1"}, "order.placed", {}) == ({"id": "A-1"}, META)
        assert scene.read(b"\x06A-1", "order.placed", {}) == ({"id": "A-1"}, {})

    @pytest.mark.parametrize(
        "value",
        [b"", b"\x06A-1x", b"[1]", b"{", b"{}", b'{"id": "A-1"}', b'{"id": "A-1"} x', b"\x00\x00\x00\x00\x09\x06A-1"],
    )
    def test_what_no_format_reads_is_said_by_the_one_that_has_a_schema(self, scene: Scene, value: bytes) -> None:
        with pytest.raises(DecodeError, match="is not of schema placed"):
            scene.read(value, "order.placed", {})

    def test_what_a_header_claims_is_tried_as_nothing_else(self, scene: Scene) -> None:
        with pytest.raises(DecodeError, match="is not of schema placed"):
            scene.read({"id": "A-1"}, "order.placed", {"kaufmann-schema-id": b"1"})
        with pytest.raises(DecodeError, match="in none of the formats"):
            scene.read(b"\x06A-1", "order.placed", JSON)

    def test_what_is_no_json_is_not_said_to_lack_an_avro_schema(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, {"order.noted": {}})

        with pytest.raises(DecodeError, match="in none of the formats of transcoders: avro, json"):
            scene.read(b"\x06A-1", headers={})

    def test_with_schemas_of_both_kinds_each_is_tried(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, {"order.placed": {}})

        assert scene.read({"id": 1}, "order.placed", {}) == ({"id": 1}, {})
        assert scene.read(b"\x06A-1", "order.placed", {}) == ({"id": "A-1"}, {})

    @pytest.mark.parametrize("order", ["avro,json", "json,avro", "avro"])
    @pytest.mark.parametrize("headers", [{}, {"traceparent": b"00-1-1-00"}])
    def test_the_next_of_a_kind_is_read_as_the_first_was(
        self, tmp_path: Path, order: str, headers: Mapping[str, bytes]
    ) -> None:
        scene = Scene(tmp_path, {"order.noted": A_NUMBER}, transcoders=order)
        for value in (b"\x06A-1", b"\x00\x00\x00\x00\x01\x06A-1", b"\x06A-1"):
            assert scene.read(value, "order.placed", headers) == ({"id": "A-1"}, {})
        if "json" in order:
            assert scene.read({"id": 1}, "order.placed", {**headers, **JSON}) == ({"id": 1}, {})
            assert scene.read({"id": 1}, "order.noted", headers) == ({"id": 1}, {})
        with pytest.raises(DecodeError):
            scene.read(b"\x06A-", "order.placed", headers)

    def test_what_no_format_reads_is_said_by_the_one_that_came_closest(self, scene: Scene) -> None:
        with pytest.raises(SchemaNotFound):
            scene.read(b"\x06A-1", headers={})
        with pytest.raises(DecodeError, match="not JSON"):
            scene.read(b"{", headers={})

    @pytest.mark.parametrize(
        ("value", "headers"),
        [(b"\x00\x00\x00\x00\x01\x06A-1", {}), (b"\x06A-1", {"kaufmann-schema-id": b"1"}),
         (b"\x06A-1", {"__value_schema_id": b"\x00\x00\x00\x00\x01"})],
    )  # fmt: skip
    def test_a_prefix_or_a_header_claims_it_for_avro(self, tmp_path: Path, value: bytes, headers: Any) -> None:
        scene = Scene(tmp_path, {"order.noted": {}}, transcoders="json,avro")

        assert scene.read(value, "order.noted", headers) == ({"id": "A-1"}, {})

    def test_without_avro_among_them_nobody_asks_the_registry(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, transcoders="json")
        scene.memory.away = True

        assert scene.read({"id": 1}, "order.placed", {}) == ({"id": 1}, {})
        assert scene.write({"id": 1}, "order.placed", None).value.endswith(b'"id": 1}')
        with pytest.raises(DecodeError, match="none of the formats of transcoders: json"):
            scene.read(b"\x06A-1", "order.placed", {})

    def test_the_schema_decides_how_an_output_is_written(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, {"order.noted": {}})

        assert scene.write({"id": "A-1"}, "order.placed", None).value == b"\x06A-1"
        assert scene.write({"id": 1}, "order.noted", None).headers == tuple(JSON.items())
        with pytest.raises(SchemaNotFound):
            scene.write({"id": 1}, "order.lost", None)

    def test_a_format_that_there_is_not_is_an_encode_error_with_a_suggestion(self, scene: Scene) -> None:
        with pytest.raises(EncodeError, match=r"^format: must be one of avro, json, did you mean json\?"):
            scene.write({}, form="jsn")


class TestJsonIsWritten:
    def test_as_kaufmann_ex_writes_it(self, scene: Scene) -> None:
        written = scene.write({"this": "value"})

        assert written.value == b'{"meta": {"message_id": "m1", "message_name": "order.placed"}, "this": "value"}'
        assert (written.headers, written.carries_meta) == (tuple(JSON.items()), True)

    @pytest.mark.parametrize(
        "payload",
        [{}, {"id": 1}, {"meta": 1}, {"meta": {"a": 1}}, {"payload": 1}, {"payload": {"a": 1}}, {"payload": 1, "a": 2},
         {"metadata": {"a": 1}, "payload": 2}, {"meta": {"a": 1}, "payload": 2}],
    )  # fmt: skip
    def test_what_is_written_is_read_back(self, scene: Scene, payload: Any) -> None:
        assert scene.read(scene.write(payload).value) == (payload, META)

    def test_what_json_lacks_is_text(self, scene: Scene) -> None:
        values = {
            "at": datetime(2024, 2, 29, tzinfo=UTC), "day": date(2024, 2, 29), "sum": Decimal("1.20"),
            "id": UUID(int=1), "raw": b"\xff\x00",
        }  # fmt: skip

        assert scene.read(scene.write(values).value)[0] == {
            "at": "2024-02-29T00:00:00+00:00", "day": "2024-02-29", "sum": "1.20",
            "id": "00000000-0000-0000-0000-000000000001", "raw": "/wA=",
        }  # fmt: skip

    def test_what_has_no_json_form_is_an_encode_error_that_does_not_show_it(self, scene: Scene) -> None:
        deep: dict[str, Any] = {}
        for _ in range(100_000):
            deep = {"a": deep}
        for payload in ([1], "secret", {"a": {1, 2}}, {"a": float("nan")}, {("secret",): 1}, deep):
            with pytest.raises(EncodeError) as caught:
                scene.write(payload)
            assert "secret" not in str(caught.value)


class TestJsonSchema:
    @pytest.mark.parametrize(
        ("payload", "fault"),
        [
            ({"id": "secret"}, 'payload.id: breaks the rule {"type": "integer"}'),
            ({}, "payload.id: missing"),
        ],
    )
    def test_a_payload_that_breaks_it_is_a_fault_of_the_event(self, tmp_path: Path, payload: Any, fault: str) -> None:
        scene = Scene(tmp_path, {"order.noted": A_NUMBER})

        for headers in (JSON, {}):
            with pytest.raises(DecodeError) as read:
                scene.read({"meta": META, **payload}, "order.noted", headers)
            assert str(read.value) == fault
        with pytest.raises(EncodeError) as written:
            scene.write(payload)
        assert str(written.value) == fault
        assert scene.read(scene.write({"id": 1}).value)[0] == {"id": 1}

    def test_the_event_may_be_named_by_its_meta(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, {"order.noted": A_NUMBER})

        with pytest.raises(DecodeError, match=r"payload\.id: missing"):
            scene.read({"meta": {"message_name": "order.noted"}}, None)

    def test_a_path_names_items_and_fields_and_hides_keys_that_are_data(self, tmp_path: Path) -> None:
        items = {"type": "array", "items": {"additionalProperties": {"type": "integer"}}}
        scene = Scene(tmp_path, {"order.noted": {"properties": {"items": items}}})

        with pytest.raises(EncodeError, match=r"^payload\.items\[1\]\[…\]: breaks the rule"):
            scene.write({"items": [{}, {"secret": "x"}]})

    def test_files_may_refer_to_one_another_and_nothing_is_fetched(self, tmp_path: Path) -> None:
        scene = Scene(
            tmp_path,
            {"order.noted": {"$ref": "number.json"}, "number": A_NUMBER, "order.far": {"$ref": "http://127.0.0.1:9/x"}},
        )
        with pytest.raises(EncodeError, match=r"^payload\.id: missing"):
            scene.write({})
        with pytest.raises(EncodeError, match=r"order\.far\.json refers to http://127\.0\.0\.1:9/x, which no file"):
            scene.write({}, "order.far")

    def test_files_that_are_no_schemas_are_named_all_together(self, tmp_path: Path) -> None:
        for name, text in {"a": "{", "b": "[]", "c": '{"type": "nothing"}', "d": "{}", "deep/d": "{}"}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / f"{name}.json").write_text(text)

        with pytest.raises(ConfigError) as caught:
            JsonSchemas([tmp_path])

        lines = str(caught.value).splitlines()
        assert [line.partition(":")[0] for line in lines] == [str(tmp_path / f"{name}.json") for name in "abc"] + [
            str(tmp_path / "deep/d.json")
        ]

    def test_without_the_library_a_schema_is_a_fault_that_says_what_to_install(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "jsonschema.exceptions", None)
        JsonSchemas([tmp_path])

        with pytest.raises(ConfigError, match=r"order\.noted\.json needs jsonschema: pip install .*\[json\]"):
            Scene(tmp_path, {"order.noted": {}})


PLUGGED = """
from kaufmann_celery.transcoders.transcoder import Decoded, Written

class Upper:
    def __init__(self, config):
        self.service = config.service

    def claims(self, value, headers):
        return headers.get("content-type") == b"text/upper"

    def knows(self, name, topic):
        return name == "order.shouted"

    def read(self, name, topic, value, headers):
        if not value.isupper():
            raise ValueError("not so quiet")
        return Decoded(value.decode().lower(), {"message_name": "order.shouted"})

    def write(self, name, topic, payload, meta):
        return Written(payload.upper().encode(), (("content-type", b"text/upper"),))

class Zeros:
    def __init__(self, config):
        pass

    def claims(self, value, headers):
        return False

    def knows(self, name, topic):
        return name == "order.zeroed"

    def read(self, name, topic, value, headers):
        return Decoded(value[1:]) if value[:1] == b"\\0" else None

    def write(self, name, topic, payload, meta):
        return Written(b"\\0" + payload)

class Odd(Zeros):
    def write(self, name, topic, payload, meta):
        return Written(*payload)

class Lost:
    def __init__(self, config):
        raise RuntimeError("no luck")

def nothing(config):
    return 5
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with entry points, as pip would install it."""
    site = tmp_path / "site"
    (site / "shouting-1.0.dist-info").mkdir(parents=True)
    (site / "shouting.py").write_text(PLUGGED)
    (site / "shouting-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    made = {"upper": "Upper", "zeros": "Zeros", "odd": "Odd", "lost": "Lost", "nothing": "nothing", "absent": "Absent"}
    points = "".join(f"{name} = shouting:{what}\n" for name, what in made.items())
    (site / "shouting-1.0.dist-info/entry_points.txt").write_text(f"[kaufmann_celery.transcoders]\n{points}")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delitem(sys.modules, "shouting", raising=False)


@pytest.mark.usefixtures("installed")
class TestPlugged:
    def test_a_transcoder_of_an_entry_point_is_tried_in_its_turn(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, transcoders="avro,upper")

        assert scene.read(b"HELLO", "order.shouted", {}) == ("hello", {"message_name": "order.shouted"})
        assert scene.read(b"HELLO", None, {"content-type": b"text/upper"})[0] == "hello"
        assert scene.write("hello", "order.shouted", None).value == b"HELLO"
        assert scene.write("hello", "order.placed", "upper").value == b"HELLO"
        assert scene.read(b"\x06A-1", "order.placed", {})[0] == {"id": "A-1"}

    @pytest.mark.parametrize("order", ["avro,json,zeros", "zeros,avro,json"])
    def test_a_value_of_one_may_begin_as_confluents_prefix_does(self, tmp_path: Path, order: str) -> None:
        scene = Scene(tmp_path, transcoders=order)

        for name in ("order.zeroed", "order.noted"):
            assert scene.read(b"\0\0\0\0\1abc", name, {})[0] == b"\0\0\0\1abc"
        assert scene.read(b"\0\0\0\0\1\x06A-1", "order.placed", {})[0] == {"id": "A-1"}

    def test_what_it_raises_is_what_is_wrong_with_the_event(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, transcoders="upper")

        with pytest.raises(DecodeError, match="the transcoder upper raised ValueError: not so quiet"):
            scene.read(b"hello", headers={})
        with pytest.raises(EncodeError, match="the transcoder upper raised AttributeError"):
            scene.write(5, "order.shouted", None)

    @pytest.mark.parametrize(
        ("written", "why"),
        [
            (("text",), "a value of type str, expected bytes"),
            ((b"", None), "headers that"),
            ((b"", {"a": b"x"}), "headers that"),
            ((b"", ("a",)), "headers that"),
            ((b"", (("a", "x"),)), "headers that"),
            ((b"", (("a", None),)), "headers that"),
            ((b"", (("a", b"x", b"y"),)), "headers that are not pairs of str and bytes"),
        ],
    )
    def test_one_that_writes_what_kafka_does_not_take_fails_the_event(
        self, tmp_path: Path, written: Any, why: str
    ) -> None:
        scene = Scene(tmp_path, transcoders="odd")

        with pytest.raises(EncodeError, match=f"the transcoder odd wrote {why}"):
            scene.write(written, "order.shouted", None)

    def test_headers_may_be_lists(self, tmp_path: Path) -> None:
        scene = Scene(tmp_path, transcoders="odd")

        assert scene.write((b"", [["a", b"x"]]), "order.shouted", None).headers == [["a", b"x"]]

    @pytest.mark.parametrize(
        ("name", "why"),
        [("uper", "there is no uper, only avro, json, .*did you mean upper?"), ("lost", "RuntimeError: no luck"),
         ("absent", "cannot be made"), ("nothing", r"has no claims\(\)")],
    )  # fmt: skip
    def test_one_that_is_not_there_or_cannot_be_made_is_a_fault_at_start(self, name: str, why: str) -> None:
        with pytest.raises(ConfigError, match=f"transcoders: .*{why}"):
            plugged(load_config("shop", keywords={"transcoders": f"avro,{name}"}, conf={}, environ={}))


def subject(name: str, topic: str) -> Any:
    if topic == "broken":
        raise KeyError("no luck")
    return {"odd": 5, "none": None, "dots": "..", "empty": "", "line": "a\nb"}.get(topic, f"{topic}-value")


class TestSubjects:
    @pytest.fixture
    def scene(self, tmp_path: Path) -> Scene:
        scene = Scene(tmp_path, subject_strategy=f"{__name__}.subject")
        scene.memory = InMemory(**{"orders-value": [PLACED]})
        config = load_config("shop", keywords={"subject_strategy": f"{__name__}.subject"}, conf={}, environ={})
        scene.transcoders = Transcoders(config, registry=registry_of(scene.memory))
        return scene

    def test_a_function_of_name_and_topic_gives_the_subject_for_reading_and_writing(self, scene: Scene) -> None:
        assert scene.read(b"\x06A-1", "order.whatever", {})[0] == {"id": "A-1"}
        assert scene.write({"id": "A-1"}, "order.whatever", None).value == b"\x06A-1"

    @pytest.mark.parametrize("topic", ["broken", "odd", "none", "dots", "empty", "line"])
    def test_one_that_raises_or_gives_nonsense_fails_the_event(self, scene: Scene, topic: str) -> None:
        with pytest.raises(DecodeError, match="subject_strategy"):
            scene.transcoders.read("order.placed", topic, b'{"id": 1}', {})
        with pytest.raises(EncodeError, match="subject_strategy"):
            scene.transcoders.write("order.placed", topic, {}, META)
