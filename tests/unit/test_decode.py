from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from kaufmann_celery.decode import Decoder
from kaufmann_celery.errors import DecodeError, EventTooLarge, UnavailableError
from kaufmann_celery.event import Headers, Position
from kaufmann_celery.handlers import Handlers
from kaufmann_celery.middleware import Hooks, Middleware
from kaufmann_celery.partitions.pending import GoneRecord
from kaufmann_celery.tasks.envelope import Decoded, unpack
from tests.unit.ledger_in_memory import handler
from tests.unit.test_avro_reading import InMemory, record, transcoders_of

PLACED = record(("item", "string"), name="schema.placed")
META = record(("message_id", "string"), ("message_name", "string"), name="meta_of_ours")
#: With a place for meta.
PAID = record(("meta", META), ("payload", record(("sum", "int"), name="inner")), name="schema.paid")
BY_ID = {"placed": ("kaufmann-schema-id", b"1"), "paid": ("kaufmann-schema-id", b"2")}
TEA = b"\x06tea"


def text(value: str) -> bytes:
    return bytes([2 * len(value)]) + value.encode()


def paid(message_name: str = "order.paid") -> bytes:
    return text("m1") + text(message_name) + b"\x0e"


class Scene:
    def __init__(self, *patterns: str, max_event_bytes: int = 1000, middleware: Sequence[Middleware] = ()) -> None:
        handlers = Handlers()
        for pattern in patterns:
            handlers.add(handler(pattern))
        names = ("order.placed", "order.paid")
        self.registry = InMemory(**dict(zip(names, [[PLACED], [PAID]], strict=True)))
        self.decoder = Decoder(
            handlers,
            transcoders_of(self.registry),
            service="shop",
            max_event_bytes=max_event_bytes,
            hooks=Hooks(middleware, "decode"),
        )

    def decode(self, key: bytes | None, value: bytes | None, *headers: tuple[str, bytes | None]) -> Decoded | None:
        given: Any = headers
        return self.decoder.decode(GoneRecord("orders", 3, 42, key, value, given, 1000))

    def read(self, key: bytes | None, value: bytes | None, *headers: tuple[str, bytes | None]) -> Decoded:
        decoded = self.decode(key, value, *headers)
        assert decoded is not None
        return decoded

    def fault(self, key: bytes | None, value: bytes | None, *headers: tuple[str, bytes | None]) -> Decoded:
        """Decode what has something wrong with it: its error travels with it."""
        decoded = self.read(key, value, *headers)
        said = unpack(decoded.text, Position("orders", 3, 42), 1).error
        assert decoded.error is not None
        assert said == (type(decoded.error).__name__, str(decoded.error))
        return decoded


def id_of(decoded: Decoded) -> str:
    return unpack(decoded.text, Position("orders", 3, 42), 1).event.id


@pytest.fixture
def scene() -> Scene:
    return Scene("order.placed", "order.paid", "schema.placed")


class TestName:
    @pytest.mark.parametrize(
        ("key", "headers", "name", "rest"),
        [
            (b"order.placed", (), "order.placed", None),
            (b"order.placed#", (), "order.placed", None),
            (b"order.placed#k1", (), "order.placed", "k1"),
            (b"order.placed#k#1", (), "order.placed", "k#1"),
            (None, (("ce_type", b"order.placed"),), "order.placed", None),
            (b"k1", (("ce_type", b"order.placed"),), "order.placed", "k1"),
            (b"k1#2", (("ce_type", b"order.placed"),), "order.placed", "k1#2"),
            (b"order.placed#k1", (("ce_type", b"order.paid"),), "order.placed", "k1"),
            (b"\xff\xfe", (("ce_type", b"order.placed"),), "order.placed", "\ufffd\ufffd"),
            (b"", (("ce_type", b"order.placed"),), "order.placed", None),
            (None, (BY_ID["placed"],), "schema.placed", None),
            (b"#k1", (BY_ID["placed"],), "schema.placed", "k1"),
        ],
    )
    def test_it_is_the_key_up_to_the_sign_else_ce_type_else_the_schemas(
        self, scene: Scene, key: bytes | None, headers: Headers, name: str, rest: str | None
    ) -> None:
        decoded = scene.read(key, TEA, *headers)

        assert (decoded.name, decoded.key, decoded.error) == (name, rest, None)
        assert decoded.handler is not None
        assert decoded.handler.pattern == name
        assert decoded.payload() == {"item": "tea"}

    @pytest.mark.parametrize(
        ("key", "ce_type", "name"),
        [
            (b"k1", b"order.placed", "order.placed"),
            (b"", b"order.paid", "order.paid"),
            (b"order.placed", b"order.paid", "order.placed"),
            (b"order.paid", b"order.other", "order.paid"),
        ],
    )
    def test_a_glob_takes_no_key_for_a_name_where_ce_type_is_handled_by_its_own(
        self, key: bytes, ce_type: bytes, name: str
    ) -> None:
        assert Scene("order.placed", "*").read(key, TEA, ("ce_type", ce_type)).name == name

    def test_metas_message_name_comes_before_the_schemas(self, scene: Scene) -> None:
        decoded = scene.read(None, paid(), BY_ID["paid"])

        assert (decoded.name, id_of(decoded)) == ("order.paid", "m1")
        assert decoded.payload() == {"sum": 7}
        assert decoded.meta["message_name"] == "order.paid"

    def test_a_key_that_is_no_text_is_an_error_event_without_a_name(self, scene: Scene) -> None:
        failed = scene.fault(b"\xff", TEA)

        assert (failed.name, failed.handler) == ("unknown", None)
        assert isinstance(failed.error, DecodeError)

    @pytest.mark.parametrize("name", [b".", b"..", b"n" * 501, "é".encode() * 251])
    def test_what_can_be_no_name_is_an_error_event_without_it(self, name: bytes) -> None:
        failed = Scene("*").fault(name, TEA)

        assert failed.name == "unknown"
        assert isinstance(failed.error, DecodeError)

    def test_a_record_that_nothing_names_is_an_error_event(self, scene: Scene) -> None:
        assert scene.fault(None, TEA).name == "unknown"

    def test_a_name_that_a_schema_made_up_is_judged_too(self) -> None:
        failed = Scene("*").fault(None, paid(".."), BY_ID["paid"])

        assert failed.name == "unknown"


class TestWanted:
    def test_a_name_without_a_handler_is_skipped_and_its_bytes_are_not_looked_at(self, scene: Scene) -> None:
        for value in (TEA, b"rubbish", None, b"x" * 10_000):
            assert scene.decode(b"stock.moved", value) is None
        assert scene.decode(b"n" * 600, TEA) is None
        assert scene.registry.asked == []

    def test_a_name_from_the_schema_without_a_handler_is_skipped(self) -> None:
        assert Scene("order.*").decode(None, TEA, BY_ID["placed"]) is None

    @pytest.mark.parametrize(("pattern", "wanted"), [("*", False), ("event.*", False), ("event.error.*", True)])
    def test_a_glob_skips_error_events_unless_it_asks_for_them(self, pattern: str, *, wanted: bool) -> None:
        decoded = Scene(pattern).decode(b"event.error.order.placed", b"")

        assert (decoded is not None) == wanted

    @pytest.mark.parametrize(
        ("pattern", "emitter", "wanted"),
        [
            ("order.*", b"shop", False),
            ("order.*", b"another", True),
            ("order.placed", b"shop", True),
        ],
    )
    def test_a_glob_skips_what_its_own_service_emitted(self, pattern: str, emitter: bytes, *, wanted: bool) -> None:
        decoded = Scene(pattern).decode(b"order.placed", TEA, ("kaufmann-emitter", emitter))

        assert (decoded is not None) == wanted

    def test_a_glob_skips_also_an_undecodable_output_of_its_own(self) -> None:
        assert Scene("order.*").decode(b"order.placed", b"\xff", ("kaufmann-emitter", b"shop")) is None


class TestFaults:
    def test_a_tombstone_is_an_error_event(self, scene: Scene) -> None:
        failed = scene.fault(b"order.placed#k1", None)

        assert (failed.name, failed.key, failed.payload()) == ("order.placed", "k1", None)
        assert "tombstone" in str(failed.error)
        assert failed.handler is not None

    def test_a_record_larger_than_allowed_is_an_error_event_without_its_bytes(self) -> None:
        scene = Scene("order.placed", max_event_bytes=100)
        whole = text("t" * 60)
        assert scene.read(b"order.placed", whole).error is None

        failed = scene.fault(b"order.placed", whole, ("h", b"x" * 50))
        assert isinstance(failed.error, EventTooLarge)
        huge = scene.fault(b"order.placed", b"x" * 101)
        assert isinstance(huge.error, EventTooLarge)
        assert huge.payload() is None

    def test_bytes_that_fit_no_schema_travel_as_they_are(self, scene: Scene) -> None:
        failed = scene.fault(b"order.placed", b"\xff\xff")

        assert isinstance(failed.error, DecodeError)
        assert failed.payload() == b"\xff\xff"

    def test_a_name_without_a_schema_is_an_error_event(self) -> None:
        assert Scene("stock.moved").fault(b"stock.moved", TEA).name == "stock.moved"

    @pytest.mark.parametrize("meta", [b"{", b"\xff", b"[1]", b'{"a": "\\ud800"}', b"[" * 2000])
    def test_a_meta_header_that_is_no_json_object_is_an_error_event_without_meta(
        self, scene: Scene, meta: bytes
    ) -> None:
        scene = Scene("order.placed", max_event_bytes=10_000)
        failed = scene.fault(b"order.placed", TEA, ("kaufmann-meta", meta))

        assert isinstance(failed.error, DecodeError)
        assert (failed.meta, id_of(failed)) == ({}, "orders:3:42")

    def test_a_registry_that_is_away_is_no_fault_of_the_event(self, scene: Scene) -> None:
        scene.registry.away = True
        with pytest.raises(UnavailableError):
            scene.decode(b"order.placed", TEA)
        scene.registry.away = False
        assert scene.read(b"order.placed", TEA).error is None


def test_meta_is_the_headers_where_the_schema_has_no_place_for_it(scene: Scene) -> None:
    decoded = scene.read(b"order.placed", TEA, ("kaufmann-meta", b'{"message_id":"m9"}'))

    assert (id_of(decoded), decoded.meta) == ("m9", {"message_id": "m9"})


class TestJson:
    JSON = ("content-type", b"application/json")

    def test_a_json_event_is_named_by_its_key_else_by_its_meta(self) -> None:
        scene = Scene("order.noted")
        value = b'{"meta": {"message_id": "m9", "message_name": "order.noted"}, "sum": 1}'

        for key in (b"order.noted#k1", None):
            decoded = scene.read(key, value, self.JSON)
            assert (decoded.name, id_of(decoded), decoded.payload()) == ("order.noted", "m9", {"sum": 1})

    def test_one_that_nothing_names_is_an_error_event(self) -> None:
        failed = Scene("*").fault(None, b'{"sum": 1}', self.JSON)

        assert (failed.name, str(failed.error).partition(":")[0]) == ("unknown", "nothing names the event")

    def test_it_may_be_as_deep_as_what_travels_through_redis(self) -> None:
        deep = b'{"a":' * 620 + b"0" + b"}" * 620

        assert Scene("order.noted", max_event_bytes=10_000).read(b"order.noted", deep, self.JSON).error is None


def test_the_envelope_tells_the_worker_all_of_the_record(scene: Scene) -> None:
    decoded = scene.read(b"k1", TEA, ("ce_type", b"order.placed"), ("empty", None))
    unpacked = unpack(decoded.text, Position("orders", 3, 42), 2)
    event, error, timestamp_ms, _ = unpacked
    raw_key = unpacked.raw_key

    assert (event.name, event.key, event.payload, event.id) == ("order.placed", "k1", {"item": "tea"}, "orders:3:42")
    assert (error, raw_key, timestamp_ms) == (None, b"k1", 1000)
    assert event.headers == (("ce_type", b"order.placed"), ("empty", b""))
