"""KaufmannEx's way: one `given_event` for events of any name, and for what became of those that failed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.scene import Scene, avro, scene

ASKED = {"type": "record", "name": "mod.asked", "fields": [{"name": "id", "type": "string"}]}
SERVICE = """
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME", event_handler_mod="events_of_any_name")
celery = kaufmann.celery
"""
MODULE = """
from kaufmann_celery import ErrorEvent, Event, Output


def given_event(event):
    match event:
        case Event(name="mod.asked", payload={"id": number}):
            return Output("bad.handled", {"id": number}, format="json")
        case Event(name="mod.fails" | "mod.fails_twice"):
            raise ValueError("no luck")
        case ErrorEvent(name="mod.fails_twice"):
            raise RuntimeError("no luck with errors")
        case ErrorEvent(name=name, error=error, message_payload=payload):
            facts = {"id": str(event.position), "name": name, "error": error, "payload": repr(payload)}
            return Output("mod.told", facts, format="json")
"""
#: Names as a record key may hold them. No subject of the registry has one of them.
ODD_NAMES = [
    ".", "..", "../subjects", "a/b", "a b", " ", "ü", "%2e%2e", "a?b=c", "a;b", "a\nb", "a\0b", "a\\b", "query.",
    "x" * 300, "x" * 5_000, "x" * 200_000, "ü" * 50_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def anything(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    schemas = dict.fromkeys(("mod.asked", "mod.fails", "mod.fails_twice"), ASKED)
    directory = tmp_path_factory.mktemp("mod")
    with scene(directory, stack, SERVICE, name="mod", schemas=schemas, events_of_any_name=MODULE) as one:
        one.service.start()
        yield one


def test_given_event_answers(anything: Scene) -> None:
    anything.send(b"mod.asked", avro(ASKED, {"id": "1"}))

    anything.handled("1")


def test_given_event_is_told_of_its_failure_and_what_it_returns_is_published(anything: Scene) -> None:
    position = anything.send(b"mod.fails", avro(ASKED, {"id": "2"}))
    anything.one_error_event(position, name="mod.fails", error_type="ValueError")

    (told,) = anything.handled(str(position), name="mod.told")

    assert (told["name"], told["error"], told["payload"]) == ("mod.fails", "no luck", "{'id': '2'}")


def test_given_event_is_told_of_an_undecodable_record(anything: Scene) -> None:
    position = anything.send(b"mod.asked", b"\xff")
    anything.one_error_event(position, name="mod.asked", error_type="DecodeError")

    (told,) = anything.handled(str(position), name="mod.told")

    assert (told["name"], told["payload"]) == ("mod.asked", repr(b"\xff"))


def test_given_event_is_told_of_a_record_without_a_name(anything: Scene) -> None:
    position = anything.send(None, b"\xff")
    anything.one_error_event(position, name="unknown", error_type="SchemaNotFound")

    (told,) = anything.handled(str(position), name="mod.told")

    assert told["name"] == "unknown"


def test_an_exception_about_an_error_event_causes_no_further_one(anything: Scene) -> None:
    failed = anything.send(b"mod.fails_twice", avro(ASKED, {"id": "3"}))
    undecodable = anything.send(b"mod.fails_twice", b"\xff")

    anything.one_error_event(failed, name="mod.fails_twice", error_type="ValueError")
    anything.one_error_event(undecodable, name="mod.fails_twice", error_type="DecodeError")


@pytest.mark.parametrize("name", ODD_NAMES, ids=lambda name: ascii(name[:12]).strip("'"))
def test_an_event_of_an_odd_name_becomes_one_error_event_and_stops_nothing(anything: Scene, name: str) -> None:
    (found,) = anything.error_events(anything.send(name.encode(), b"\xff"))

    assert (found.key or b"").startswith(b"event.error.")


def test_no_process_died_of_it(anything: Scene) -> None:
    assert anything.service.is_alive("ingester")
    assert anything.service.is_alive("worker")
    assert "Traceback" not in anything.service.log("ingester")
