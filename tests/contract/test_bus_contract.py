"""One body of tests over MockBus and over real Kafka, Redis, registry and processes: a fake must do as they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.contract.buses import OLDER, Bus, RealBus, mock_bus, running_service
from tests.integration.scene import Scene


@pytest.fixture(scope="module")
def running(stack: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running_service(tmp_path_factory.mktemp("service"), stack) as one:
        yield one


@pytest.fixture(params=["mock", "real"])
def bus(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    if request.param == "mock":
        with mock_bus(tmp_path, monkeypatch) as mock:
            yield mock
        return
    with closing(RealBus(request.getfixturevalue("running"), request.getfixturevalue("stack"))) as real:
        yield real


def texts(bus: Bus) -> list[str]:
    return sorted(one.payload["text"] for one in bus.emitted)


def error_event(bus: Bus, name: str, error: str, error_type: str, attempts: int = 1) -> None:
    """Take the error event of *name*, which must say so in payload and headers."""
    output = bus.then_event(f"event.error.{name}")
    assert {key: output.payload[key] for key in ("error", "error_type", "attempts")} == {
        "error": error, "error_type": error_type, "attempts": attempts,
    }  # fmt: skip
    headers = dict(output.headers)
    assert headers["kaufmann-error-type"] == error_type.encode()
    assert headers["kaufmann-original-topic"] == bus.name.encode()
    assert headers["kaufmann-attempts"] == str(attempts).encode()
    assert output.payload["position"].startswith(f"{bus.name}:")


def test_a_handler_sees_the_event_and_its_output_carries_meta_key_and_headers(bus: Bus) -> None:
    bus.given_event("contract.echo", {"text": "hello"}, callback_id="c-1", key="k-1", headers={"trace": "t-1"})

    output = bus.then_event("contract.echoed", {
        "name": "contract.echo", "key": "k-1", "attempt": 1, "text": "hello", "callback_id": "c-1", "emitter": "test",
        "trace": "t-1", "has_id": True,
    })  # fmt: skip
    assert (output.topic, output.key) == (f"{bus.name}.out", "k-1")
    meta = {key: output.meta[key] for key in ("emitter_service", "message_name", "callback_id", "callback_topic")}
    assert meta == {
        "emitter_service": bus.name, "message_name": "contract.echoed", "callback_id": "c-1", "callback_topic": None,
    }  # fmt: skip
    assert UUID(output.meta["message_id"])
    assert datetime.fromisoformat(output.meta["timestamp"]).tzinfo == UTC
    assert dict(output.headers)["trace"] == b"t-2"
    assert dict(output.headers)["content-type"] == b"application/json"
    bus.then_no_event()


def test_avros_types_are_pythons(bus: Bus) -> None:
    payload = {
        "data": b"\0\xff", "price": Decimal("1.20"), "day": date(2024, 2, 29), "id": UUID(int=7),
        "when": datetime(2024, 2, 29, 1, 2, 3, 4000, tzinfo=UTC), "tagged": {"__type__": "x", "__value__": "1"},
    }  # fmt: skip
    bus.given_event("contract.types", payload)

    assert bus.then_event("contract.typed", payload).payload == payload
    bus.then_no_event()


def test_a_generator_and_publish_emit_all(bus: Bus) -> None:
    bus.given_event("contract.several", {"text": ""})

    assert texts(bus) == ["first", "published", "second"]


@pytest.mark.parametrize("name", ["contract.async", "contract.matched", "contract.bare"])
def test_handlers_of_every_kind_answer(bus: Bus, name: str) -> None:
    bus.given_event(name, {"text": "hello"})

    bus.then_event("contract.done", {"text": "hello"})
    bus.then_no_event()


def test_a_glob_takes_what_no_exact_name_does(bus: Bus) -> None:
    bus.given_event("contract.any.one", {"text": ""})

    bus.then_event("contract.done", {"text": "contract.any.one"})


def test_nothing_may_come_of_an_event(bus: Bus) -> None:
    bus.given_event("contract.nothing", {"text": ""})
    bus.given_event("contract.ignored", {"text": ""})

    bus.then_no_event()


def test_a_failure_emits_its_error_event_alone(bus: Bus) -> None:
    bus.given_event("contract.fail", {"text": "pears"})

    error_event(bus, "contract.fail", "no pears", "ValueError")
    bus.then_no_event()


FAILURES = {
    "contract.misfit": ("payload.text: expected string, got int", "EncodeError"),
    "contract.wrong": ("a handler returns None, an output, or several; got str", "TypeError"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_what_is_no_output_is_the_events_failure(bus: Bus, name: str) -> None:
    bus.given_event(name, {"text": ""})

    error_event(bus, name, *FAILURES[name])
    bus.then_no_event()


def test_an_output_without_a_schema_is_the_events_failure(bus: Bus) -> None:
    bus.given_event("contract.unknown", {"text": ""})

    assert bus.then_event("event.error.contract.unknown").payload["error_type"] == "SchemaNotFound"
    bus.then_no_event()


def test_who_is_told_of_a_failure_may_emit_too(bus: Bus) -> None:
    bus.given_event("contract.told", {"text": "x"})
    bus.given_event("contract.matched", {"text": "fail"})

    bus.then_event("contract.done", {"text": "contract.told ValueError {'text': 'x'}"})
    error_event(bus, "contract.told", "to be told", "ValueError")
    bus.then_event("contract.done", {"text": "contract.matched: as asked"})
    error_event(bus, "contract.matched", "as asked", "ValueError")
    bus.then_no_event()


def test_retries_end_in_success_or_in_an_error_event(bus: Bus) -> None:
    bus.given_event("contract.retry", {"text": "2"})
    bus.given_event("contract.later", {"text": ""})
    bus.then_event("contract.done", {"text": "attempt 3"})
    bus.then_event("contract.done", {"text": "attempt 3"})
    bus.then_no_event()
    bus.given_event("contract.retry", {"text": "3"})

    error_event(bus, "contract.retry", "not yet", "LookupError", attempts=3)
    bus.then_no_event()


def test_a_reply_goes_to_the_callback_and_to_the_usual_topic(bus: Bus) -> None:
    replies = f"{bus.name}.replies"
    ask = partial(
        bus.given_event,
        "query.req.contract",
        callback_id="c-2",
        meta={"callback_topic": {"topic": replies, "partition": 3}},
    )
    ask({"text": "pears"})
    ask({"text": "fail"})

    reply = bus.then_event("query.res.contract", {"text": "answer"}, topic=replies)
    assert (reply.partition, reply.meta["callback_id"]) == (3, "c-2")
    bus.then_event("query.res.contract", topic=f"{bus.name}.out")
    assert bus.then_event("event.error.query.req.contract", topic=replies).partition == 3
    bus.then_event("event.error.query.req.contract", topic=f"{bus.name}.out")
    bus.then_no_event()


RAW: dict[str, tuple[bytes | None, bytes | None, list[tuple[str, bytes]], str]] = {
    "bare": (b"contract.bare", b"\x04hi", [], "hi"),
    "with a key": (b"contract.bare#key", b"\x04hi", [], "hi"),
    "named by a header": (b"A-1", b"\x04hi", [("ce_type", b"contract.bare")], "hi"),
    "without a key": (None, b"\x04hi", [("ce_type", b"contract.bare")], "hi"),
    "empty text": (b"contract.bare", b"\x00", [], ""),
}


@pytest.mark.parametrize("record", RAW)
def test_a_record_of_another_writer_is_read(bus: Bus, record: str) -> None:
    key, value, headers, text = RAW[record]
    bus.given_raw(key, value, headers)

    bus.then_event("contract.done", {"text": text})
    bus.then_no_event()
    assert list(bus.dead_letters) == []


BAD: dict[str, tuple[bytes | None, list[tuple[str, bytes]], str]] = {
    "too short": (b"\x04h", [], "DecodeError"),
    "too long": (b"\x04hi!", [], "DecodeError"),
    "a tombstone": (None, [], "DecodeError"),
    "an unknown id": (b"\x04hi", [("kaufmann-schema-id", b"999999")], "SchemaNotFound"),
    "a damaged meta header": (b"\x04hi", [("kaufmann-meta", b"{")], "DecodeError"),
}


@pytest.mark.parametrize("record", BAD)
@pytest.mark.parametrize("name", ["contract.bare", "contract.raw"])
def test_what_cannot_be_read_is_an_error_event_and_a_dead_letter(bus: Bus, name: str, record: str) -> None:
    value, headers, error_type = BAD[record]
    bus.given_raw(name.encode(), value, [*headers, ("trace", b"t")])

    assert bus.then_event(f"event.error.{name}").payload["error_type"] == error_type
    if name == "contract.raw":
        bus.then_event("contract.done", {"text": f"contract.raw {error_type} {value!r}"})
    bus.then_no_event()
    (letter,) = bus.dead_letters
    assert (letter.key, letter.value) == (name.encode(), value)
    assert {("trace", b"t"), ("kaufmann-error-type", error_type.encode())} <= set(letter.headers)


def test_a_record_of_an_older_schema_has_the_defaults(bus: Bus) -> None:
    older: Any = bus.registry.register("contract.evolved", OLDER)
    bus.given_raw(b"contract.evolved", b"\x04hi", [("kaufmann-schema-id", b"%d" % older)])
    bus.given_raw(b"contract.evolved", b"\0" + int(older).to_bytes(4, "big") + b"\x04ho")

    bus.then_event("contract.done", {"text": "hi default"})
    bus.then_event("contract.done", {"text": "ho default"})
    bus.then_no_event()
