"""Events whose handler fails, or whose outputs cannot be published: one error event each, told to `on_error`."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from kaufmann_celery.event import Position
from kaufmann_celery.registry.local_schemas import shipped_error_schema
from tests.integration.kafka_topics import Found
from tests.integration.scene import MEBIBYTE, Scene, avro, scene
from tests.integration.service_process import eventually

ASKED = {"type": "record", "name": "fail.asked", "fields": [{"name": "id", "type": "string"}]}
#: Every handler here is given an event of this schema; the name says what the handler does.
NAMES = (
    "not_output", "misfit", "no_subject", "no_topic", "no_partition", "large", "mixed", "raises", "odd", "waits",
    "retried", "told", "told_badly", "told_misfit", "told_late", "told_no_topic", "awaits", "awaits_badly", "edge",
)  # fmt: skip

SERVICE = """
import asyncio
import threading
import time
from pathlib import Path

from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("not even this")


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


def note(what):
    with Path("runs").open("a") as file:
        file.write(what + "\\n")


def wait_for(name):
    deadline = time.monotonic() + 60
    while not Path(name).exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def answer(event, name="fail.answer", **where):
    return Output(name, {"id": event.payload["id"]}, **where)


@kaufmann.on("fail.not_output")
def not_output(event):
    return 42


@kaufmann.on("fail.misfit")
def misfit(event):
    return ("fail.answer", {"id": [event.payload["id"]]})


@kaufmann.on("fail.no_subject")
def no_subject(event):
    return answer(event, "fail.nobody.registered.this")


@kaufmann.on("fail.no_topic")
def no_topic(event):
    return answer(event, topic="NAME.missing")


@kaufmann.on("fail.told_no_topic")
def told_no_topic(event):
    return answer(event, topic="NAME.missing")


@kaufmann.on_error("fail.told_no_topic")
def note_refused(failed):
    note(f"refused {failed.error_type} {failed.message_payload['id']}")


@kaufmann.on("fail.no_partition")
def no_partition(event):
    return answer(event, partition=99)


@kaufmann.on("fail.large")
def large(event):
    return Output("fail.answer", {"id": "x" * 20_000}, topic="NAME.small")


@kaufmann.on("fail.edge")
def edge(event):
    return Output("fail.answer", {"id": "x" * int(event.payload["id"])}, topic="NAME.small")


@kaufmann.on("fail.mixed")
def mixed(event):
    kaufmann.publish("fail.answer", {"id": "published before the failure"})
    yield answer(event)
    yield answer(event, topic="NAME.missing")


@kaufmann.on("fail.raises", "fail.told", "fail.told_badly", "fail.told_misfit", "fail.told_late")
def raises(event):
    kaufmann.publish("fail.answer", {"id": event.payload["id"]})
    raise ValueError("no luck")


@kaufmann.on("event.error.elsewhere")
def about_an_error(event):
    note("about an error")
    raise ValueError("no luck here either")


@kaufmann.on("fail.odd")
def odd(event):
    match event.payload["id"]:
        case "unprintable":
            raise Unprintable
        case "unpicklable":
            raise Unpicklable
        case "surrogate":
            raise ValueError("half a pair: \\udc80")
        case "long":
            raise ValueError("\\u00fc" * 5000)
        case "empty":
            raise ValueError
        case "partition":
            return answer(event, partition=2**40)
        case "negative":
            return answer(event, partition=-1)
        case "topic":
            return answer(event, topic=["NAME.out", 5])
        case "no name":
            return answer(event, name=5)
        case "name":
            return answer(event, name="half a pair: \\udc80")
        case "headers":
            return answer(event, headers={"\\udc80": b""})
        case "deep":
            deep = []
            for _ in range(100_000):
                deep = [deep]
            return Output("fail.answer", {"id": deep}, format="json")
        case "endless":
            endless = {}
            endless["id"] = endless
            return Output("fail.answer", endless)
        case "group":
            raise ExceptionGroup("two", [ValueError("one"), KeyError("two")])


@kaufmann.on("fail.waits")
def waits(event):
    note("waits")
    wait_for("go on")


@kaufmann.on("fail.retried", max_retries=1, retry_backoff=0.1)
def retried(event):
    note(f"retried {event.attempt}")
    raise ValueError("no luck twice")


@kaufmann.on("fail.awaits")
async def awaits(event):
    await asyncio.sleep(0)
    return answer(event)


@kaufmann.on("fail.awaits_badly")
async def awaits_badly(event):
    await asyncio.sleep(0)
    raise ValueError("no luck later")


@kaufmann.on_error("fail.told")
def told(error):
    facts = {
        "id": str(error.position), "name": error.name, "error": error.error, "error_type": error.error_type,
        "payload_type": type(error.message_payload).__name__,
    }
    return Output("fail.told_of", facts, format="json")


@kaufmann.on_error("fail.told_badly")
def told_badly(error):
    raise RuntimeError("no luck with errors")


@kaufmann.on_error("fail.told_misfit")
def told_misfit(error):
    return Output("fail.answer", {"id": 5}, headers={"\\udc80": b""})


@kaufmann.on_error("fail.told_late")
def told_late(error):
    note("told late")
    wait_for("told")
"""


@pytest.fixture(scope="module")
def fail(stack: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    schemas = {
        "event.error": shipped_error_schema(),
        "fail.answer": ASKED | {"name": "fail.answer"},
        **{f"fail.{name}": ASKED for name in NAMES},
    }
    with scene(
        tmp_path_factory.mktemp("handlers"), stack, SERVICE, name="handlers", schemas=schemas,
        settings={"error_topic": "NAME.errors"}, dead_letter_bytes=MEBIBYTE,
    ) as one:  # fmt: skip
        one.kafka.create(errors(one), max_message_bytes=100_000)
        one.kafka.create(f"{one.name}.small", max_message_bytes=10_000)
        one.kafka.create(f"{one.name}.callback")
        one.service.start()
        yield one


def errors(fail: Scene) -> str:
    return f"{fail.name}.errors"


def ask(fail: Scene, what: str, number: str = "1", **more: Any) -> Position:
    return fail.send(f"fail.{what}#key".encode(), avro(ASKED, {"id": number}), **more)


def fails(fail: Scene, what: str, number: str, error_type: str, **more: Any) -> dict[str, Any]:
    """Send the event, check its one error event, and that it had no other output; return the error event's payload."""
    position = ask(fail, what, number)
    found = fail.one_error_event(position, name=f"fail.{what}", error_type=error_type, topic=errors(fail), **more)
    assert number.encode() not in b"".join(one.value or b"" for one in fail.kafka.read(fail.out))
    payload = fail.payload_of(found)
    assert payload["error_type"] == error_type
    return payload


def test_a_handler_that_raises_causes_one_error_event_and_no_output(fail: Scene) -> None:
    payload = fails(fail, "raises", "id-raises", "ValueError")

    assert payload["error"] == "no luck"
    assert json.loads(payload["message_payload"]) == {"id": "id-raises"}
    assert payload["attempts"] == 1


def test_a_result_that_is_no_output_fails_the_event(fail: Scene) -> None:
    assert "int" in fails(fail, "not_output", "id-none", "TypeError")["error"]


def test_an_output_that_does_not_fit_its_schema_fails_the_event(fail: Scene) -> None:
    assert "payload.id" in fails(fail, "misfit", "id-misfit", "EncodeError")["error"]


def test_an_output_without_a_subject_fails_the_event(fail: Scene) -> None:
    assert "fail.nobody.registered.this" in fails(fail, "no_subject", "id-subject", "SchemaNotFound")["error"]


@pytest.mark.parametrize("what", ["no_topic", "no_partition", "large", "mixed"])
def test_an_output_that_kafka_refuses_fails_the_event(fail: Scene, what: str) -> None:
    fails(fail, what, f"id-refused-{what}", "RefusedForGood")


def test_on_error_is_told_of_an_output_that_kafka_refuses(fail: Scene) -> None:
    fails(fail, "told_no_topic", "id-told-refused", "RefusedForGood")
    told = [line for line in fail.service.runs() if line.startswith("refused")]
    assert told == ["refused RefusedForGood id-told-refused"]


def test_at_the_edge_of_what_a_topic_takes_each_event_is_answered_or_fails_and_no_other_event_does(fail: Scene) -> None:
    small = f"{fail.name}.small"
    ask(fail, "edge", "100")
    (probe,) = fail.kafka.await_records(small, lambda one: b"x" * 100 in (one.value or b""))
    size = sum(
        len(part or b"")
        for part in (
            probe.key,
            probe.value,
            *(one for pair in probe.header.items() for one in (pair[0].encode(), pair[1])),
        )
    )
    edge = 10_000 - (size - 100) - 68
    asked = {n: ask(fail, "edge", str(n)) for n in range(edge - 40, edge + 5)}
    others = [f"beside-{n}" for n in range(20)]
    for other in others:
        ask(fail, "awaits", other)
    fail.handles_what_follows()

    answered = {len(one.value or b"") for one in fail.kafka.read(small)}
    failed = [one.original for one in fail.kafka.read(errors(fail)) if one.original in asked.values()]
    assert len(failed) == len(set(failed))
    assert len(answered) - 1 + len(failed) == len(asked)
    assert 5 < len(failed) < 40
    given = [one.value for one in fail.kafka.read(fail.out) if one.key == b"fail.answer"]
    assert [given.count(avro(ASKED, {"id": other})) for other in others] == [1] * len(others)


ODD = {
    "unprintable": "Unprintable",
    "unpicklable": "Unpicklable",
    "surrogate": "ValueError",
    "long": "ValueError",
    "partition": "",
    "negative": "RefusedForGood",
    "topic": "",
    "no name": "",
    "name": "",
    "headers": "",
    "deep": "",
    "endless": "EncodeError",
    "group": "ExceptionGroup",
}


@pytest.mark.parametrize("what", ODD)
def test_odd_failures_cause_one_error_event_each_without_a_second_run(fail: Scene, what: str) -> None:
    position = ask(fail, "odd", what)

    (found,) = fail.error_events(position, errors(fail))

    if ODD[what]:
        assert found.header["kaufmann-error-type"] == ODD[what].encode()
    assert found.header["kaufmann-attempts"] == b"1"
    assert found.header["kaufmann-error-type"] != b"WorkerDied"
    assert 0 < len((found.header["kaufmann-error-message"] or b"").decode()) <= 1000


def test_an_exception_without_message_causes_one_error_event(fail: Scene) -> None:
    (found,) = fail.error_events(ask(fail, "odd", "empty"), errors(fail))

    assert found.header["kaufmann-error-type"] == b"ValueError"


def test_attempts_counts_the_retries(fail: Scene) -> None:
    payload = fails(fail, "retried", "id-retried", "ValueError", attempts=2)

    assert payload["attempts"] == 2
    assert [run for run in fail.service.runs() if run.startswith("retried")] == ["retried 1", "retried 2"]


def test_an_event_just_under_the_limit_fails_with_an_error_event_without_payload(fail: Scene) -> None:
    number = "id-limit" * 131_000
    assert MEBIBYTE - 1000 < len(number) < MEBIBYTE - 100

    assert fails(fail, "raises", number, "ValueError")["message_payload"] is None


def test_an_error_event_larger_than_its_topic_takes_loses_its_payload(fail: Scene) -> None:
    assert fails(fail, "raises", "id-cut" * 50_000, "ValueError")["message_payload"] is None


def test_a_dead_letter_larger_than_its_topic_takes_is_only_announced(fail: Scene) -> None:
    position = fail.send(b"fail.raises", avro(ASKED, {"id": "x" * 2 * MEBIBYTE}))

    fail.one_error_event(position, name="fail.raises", error_type="EventTooLarge", topic=errors(fail))

    (letter,) = letters(fail, position)
    assert letter.value is None
    fail.check_failure_headers(letter, position, error_type="EventTooLarge")


def test_the_error_event_goes_to_the_callback_topic_too(fail: Scene) -> None:
    callback = f"{fail.name}.callback"
    meta = {"callback_id": "c-1", "callback_topic": {"topic": callback, "partition": 1}}
    position = ask(fail, "raises", "id-callback", headers=[("kaufmann-meta", json.dumps(meta).encode())])

    (usual,) = fail.error_events(position, errors(fail))
    (reply,) = [one for one in fail.kafka.read(callback) if one.original == position]

    assert reply.position.partition == 1
    assert (reply.key, reply.value) == (usual.key, usual.value)


def test_a_failure_about_an_error_event_causes_none(fail: Scene) -> None:
    value = {
        "meta": dict.fromkeys(("message_id", "emitter_service", "emitter_service_id", "message_name", "timestamp"), "")
    }
    failing = fail.send(b"event.error.elsewhere", avro(shipped_error_schema(), value | {"payload": {}}))
    undecodable = fail.send(b"event.error.elsewhere", b"\xff")

    fail.handles_what_follows()

    assert "about an error" in fail.service.runs()
    found = [one.original for topic in (errors(fail), fail.out) for one in fail.kafka.read(topic)]
    assert failing not in found
    assert undecodable not in found
    assert len(letters(fail, undecodable)) == 1


def test_on_error_is_told_of_a_failure_and_what_it_returns_is_published(fail: Scene) -> None:
    position = ask(fail, "told", "id-told")
    fail.one_error_event(position, name="fail.told", error_type="ValueError", topic=errors(fail))

    (facts,) = fail.handled(str(position), name="fail.told_of")

    assert (facts["name"], facts["error"], facts["error_type"]) == ("fail.told", "no luck", "ValueError")
    assert facts["payload_type"] == "dict"


def test_on_error_is_told_of_an_undecodable_record_with_its_bytes(fail: Scene) -> None:
    position = fail.send(b"fail.told#key", b"\xff")
    fail.one_error_event(position, name="fail.told", error_type="DecodeError", topic=errors(fail))

    (facts,) = fail.handled(str(position), name="fail.told_of")

    assert (facts["error_type"], facts["payload_type"]) == ("DecodeError", "bytes")
    assert [one.value for one in letters(fail, position)] == [b"\xff"]


@pytest.mark.parametrize("what", ["told_badly", "told_misfit"])
def test_a_failing_on_error_causes_no_further_error_event(fail: Scene, what: str) -> None:
    fails(fail, what, f"id-{what}", "ValueError")
    position = fail.send(f"fail.{what}".encode(), b"\xff")

    fail.one_error_event(position, name=f"fail.{what}", error_type="DecodeError", topic=errors(fail))


def test_async_handlers_answer_and_fail_like_others(fail: Scene) -> None:
    ask(fail, "awaits", "id-awaited")
    fails(fail, "awaits_badly", "id-awaited-badly", "ValueError")

    answers = [one.value for one in fail.kafka.read(fail.out) if one.key == b"fail.answer"]
    assert avro(ASKED, {"id": "id-awaited"}) in answers


def test_a_dead_letter_is_not_forgotten_when_its_ingester_dies(fail: Scene) -> None:
    position = fail.send(b"fail.told_late", b"\xff")
    eventually(lambda: "told late" in fail.service.runs(), "on_error runs")
    os.kill(fail.service.pid("ingester"), signal.SIGKILL)
    fail.service.stop("ingester")
    (fail.service.directory / "told").touch()
    eventually(lambda: f"{position}.1] succeeded" in fail.service.log("worker"), "the outcome is in the ledger")
    fail.service.start("ingester")

    fail.one_error_event(position, name="fail.told_late", error_type="DecodeError", topic=errors(fail))

    assert [one.value for one in letters(fail, position)] == [b"\xff"]
    assert fail.service.runs().count("told late") == 1


def test_no_process_died_of_it(fail: Scene) -> None:
    assert fail.service.is_alive("ingester")
    assert fail.service.is_alive("worker")
    assert "WorkerLostError" not in fail.service.log("worker")
    assert "Traceback" not in fail.service.log("ingester")


def letters(fail: Scene, position: Position) -> list[Found]:
    return [one for one in fail.kafka.read(fail.dead) if one.original == position]
