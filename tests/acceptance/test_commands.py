"""The commands as users type them: real processes on the real stack."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from tests.acceptance.typed_service import DEADLINE_S, TypedService, eventually, line, written


@pytest.fixture
def service(tmp_path: Path, stack: Mapping[str, str]) -> Iterator[TypedService]:
    """A service with its topic of two partitions; its schemas are registered."""
    service = written(tmp_path, stack)
    with _admin(stack) as admin:
        admin.create_topics({service.name: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    done = service.kaufmann("migrate-schemas")
    assert done.returncode == 0, done.stderr
    try:
        yield service
    finally:
        (tmp_path / "go").touch()
        service.stop()


def _admin(stack: Mapping[str, str]) -> Any:
    return _Closing(KafkaAdminClient(bootstrap_servers=stack["KAUFMANN_BROKERS"]))


class _Closing:
    def __init__(self, client: Any) -> None:
        self._client = client

    def __enter__(self) -> Any:
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()


def _events(service: TypedService, *arguments: str) -> list[dict[str, Any]]:
    done = service.kaufmann("events", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _status(service: TypedService) -> Any:
    done = service.kaufmann("status", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_published_is_read_back_with_its_values(service: TypedService) -> None:
    payload = {"order_id": "17", "at": "2026-01-02T03:04:05+00:00", "sum": "12.30"}

    done = service.kaufmann(
        "publish", "order.placed", "--payload", json.dumps(payload), "--key", "k", "--reply-to", "a:3"
    )

    assert done.returncode == 0, done.stderr
    (event,) = _events(service, service.name)
    assert done.stdout == f"{event['position']}\n"
    assert (event["name"], event["key"], event["payload"]) == ("order.placed", "k", payload)
    assert event["meta"]["callback_topic"] == {"topic": "a", "partition": 3}
    assert event["headers"]["kaufmann-schema-id"].isdigit()


def test_a_pipe_publishes_an_event_for_each_line(service: TypedService) -> None:
    lines = "".join(f'{{"order_id": "{number}"}}\n' for number in range(700))

    done = service.kaufmann("publish", "order.placed", "--key", "one", given=lines)

    assert (done.returncode, done.stderr) == (0, "700 published\n")
    events = _events(service, service.name)
    assert [event["payload"]["order_id"] for event in events] == [str(number) for number in range(700)]
    assert [event["position"] for event in events] == done.stdout.splitlines()


def test_a_pipe_stops_at_the_first_line_that_fails_and_says_which(service: TypedService) -> None:
    lines = '{"order_id": "1"}\n\n{"order_id": 2}\n{"order_id": "3"}\n'

    done = service.kaufmann("publish", "order.placed", "--payload", "-", given=lines)

    assert done.returncode == 1
    assert done.stderr == "Error: line 3: payload.order_id: expected string, got int; 1 published\n"
    assert len(_events(service, service.name)) == len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no.such.event", "--payload", "{}"], "no.such.event has no schema"),
        (["order.placed", "--payload", "{"], "the payload is not JSON"),
        (["order.placed", "--payload", '{"order_id": "1", "sum": "x"}'], "text that is no decimal"),
        (["order.placed", "--payload", '{"order_id": "1"}', "--topic", "no-such-topic"], "does not exist"),
    ],
)
def test_an_event_that_cannot_be_published_is_one_line_and_exit_code_1(
    service: TypedService, arguments: list[str], said: str
) -> None:
    done = service.kaufmann("publish", *arguments)

    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_events_begin_and_end_where_they_are_told(service: TypedService) -> None:
    lines = "".join(f'{{"order_id": "{number}"}}\n' for number in range(10))
    positions = service.kaufmann("publish", "order.placed", "--key", "one", given=lines).stdout.splitlines()
    service.kaufmann("publish", "order.held", "--payload", '{"order_id": "held"}')
    topic, partition, _ = positions[0].split(":")

    assert [event["position"] for event in _events(service, f"{topic}:{partition}:4", "-n", "3")] == positions[4:7]
    assert [event["name"] for event in _events(service, topic, "--name", "*.held")] == ["order.held"]
    assert _events(service, f"{topic}:{1 - int(partition)}", "--name", "order.placed") == []
    assert _events(service, topic, "-n", "0") == []


def test_events_that_cannot_be_decoded_say_why_in_place_of_a_payload(
    service: TypedService, stack: Mapping[str, str]
) -> None:
    with _Closing(KafkaProducer(bootstrap_servers=stack["KAUFMANN_BROKERS"])) as producer:
        producer.send(service.name, b"\xff", key=b"order.placed#k", headers=[("bytes", b"\xff")]).get(DEADLINE_S)

    (event,) = _events(service, service.name)

    assert event["error"].startswith("DecodeError: ")
    assert "payload" not in event
    assert (event["key"], event["headers"]) == ("k", {"bytes": {"base64": "/w=="}})


def test_events_end_behind_transactions_that_were_aborted(service: TypedService, stack: Mapping[str, str]) -> None:
    service.kaufmann("publish", "order.placed", "--payload", '{"order_id": "1"}', "--key", "k")
    producer = KafkaProducer(bootstrap_servers=stack["KAUFMANN_BROKERS"], transactional_id=service.name)
    with _Closing(producer):
        producer.init_transactions()
        producer.begin_transaction()
        for partition in (0, 1):
            producer.send(service.name, b"aborted", key=b"order.placed", partition=partition).get(DEADLINE_S)
        producer.abort_transaction()

    assert len(_events(service, service.name)) == 1


def test_a_topic_that_does_not_exist_is_a_fault(service: TypedService) -> None:
    missing = service.kaufmann("events", "no-such-topic")
    partition = service.kaufmann("events", f"{service.name}:7")

    assert (missing.returncode, missing.stderr) == (1, "Error: topic no-such-topic does not exist\n")
    assert (partition.returncode, partition.stderr) == (
        1, f"Error: topic {service.name} has 2 partitions, none with number 7\n",
    )  # fmt: skip


def test_following_events_shows_what_arrives_and_ends_with_ctrl_c(service: TypedService) -> None:
    following = service.start("events", "kaufmann", "-A", "service", "events", service.name, "--follow")
    service.kaufmann("publish", "order.placed", "--payload", '{"order_id": "later"}')
    eventually(lambda: '"later"' in service.log("events"), "the event that arrived")

    following.send_signal(signal.SIGINT)

    assert following.wait(DEADLINE_S) == 0
    assert len(service.log("events").splitlines()) == 1


def test_following_none_of_what_is_there_shows_what_arrives_alone(service: TypedService) -> None:
    service.kaufmann("publish", "order.placed", "--payload", '{"order_id": "old"}')
    following = service.start("events", "kaufmann", "-A", "service", "events", service.name, "--follow", "-n", "0")

    def is_shown() -> bool:
        service.kaufmann("publish", "order.placed", "--payload", '{"order_id": "new"}')
        return '"new"' in service.log("events")

    eventually(is_shown, "an event that arrived")
    following.send_signal(signal.SIGINT)

    assert following.wait(DEADLINE_S) == 0
    assert '"old"' not in service.log("events")


def test_an_event_is_shown_with_its_meta_once(service: TypedService) -> None:
    service.kaufmann("publish", "order.placed", "--payload", '{"order_id": "1"}')

    (event,) = _events(service, service.name)

    assert event["meta"]["message_name"] == "order.placed"
    assert json.dumps(event).count(event["meta"]["message_id"]) == 1


def test_a_reader_of_events_may_go_away(service: TypedService) -> None:
    lines = "".join(f'{{"order_id": "{number}"}}\n' for number in range(500))
    service.kaufmann("publish", "order.placed", given=lines)
    command = line("kaufmann", "-A", "service", "events", service.name)
    with subprocess.Popen(
        command, cwd=service.directory, env=service.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()

        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == b""


def test_migrating_schemas_again_changes_nothing(service: TypedService) -> None:
    done = service.kaufmann("migrate-schemas")

    assert done.returncode == 0
    assert re.findall(r"(?m)^(\w+) \d+ +(\S+)", done.stdout) == [
        ("unchanged", "order.confirmed"),
        ("unchanged", "order.held"),
        ("unchanged", "order.placed"),
    ]


def test_a_check_registers_nothing(service: TypedService) -> None:
    subject = service.name.replace("-", ".")
    (service.directory / "schemas" / f"{subject}.avsc").write_text('{"type": "record", "name": "R", "fields": []}')

    for state in ("compatible", "compatible", "registered"):
        arguments = ["--check"] if state == "compatible" else []
        done = service.kaufmann("migrate-schemas", *arguments)

        assert done.returncode == 0
        assert re.search(rf"(?m)^{state}( \d+)? +{subject} ", done.stdout)


@pytest.mark.parametrize("arguments", [[], ["--check"]])
def test_one_schema_at_fault_keeps_all_from_being_registered(service: TypedService, arguments: list[str]) -> None:
    good, bad = (f"{service.name.replace('-', '.')}.{name}" for name in ("good", "bad"))
    (service.directory / "schemas" / f"{good}.avsc").write_text('{"type": "record", "name": "R", "fields": []}')
    (service.directory / "schemas" / f"{bad}.avsc").write_text('{"type": "recrod", "name": "R"}')

    done = service.kaufmann("migrate-schemas", *arguments)

    assert done.returncode == 1
    assert f"invalid          {bad}  (schemas/{bad}.avsc)" in done.stdout
    assert "nothing was registered" in done.stderr
    (service.directory / "schemas" / f"{bad}.avsc").unlink()
    assert re.search(rf"(?m)^compatible +{good} ", service.kaufmann("migrate-schemas", "--check").stdout)


def test_a_group_that_does_not_exist_yet_is_shown_as_such(service: TypedService) -> None:
    service.kaufmann("publish", "order.placed", "--payload", '{"order_id": "1"}')

    shown = service.kaufmann("status")
    failed = service.kaufmann("status", "--fail-above", "0")

    assert shown.returncode == 0
    assert f"group {service.name}: does not exist yet" in shown.stdout
    assert (failed.returncode, failed.stderr) == (1, "Error: lag 1 is above 0\n")
    assert service.kaufmann("status", "--fail-above", "1").returncode == 0


def test_status_shows_who_has_what_and_what_blocks_the_commit(service: TypedService) -> None:
    service.kaufmann("publish", "order.held", "--key", "k", "--payload", '{"order_id": "held"}')
    service.kaufmann("publish", "order.held", "--key", "k", "--payload", '{"order_id": "held too"}')
    lines = "".join(f'{{"order_id": "{number}"}}\n' for number in range(5))
    service.kaufmann("publish", "order.placed", "--key", "k", given=lines)
    service.start("ingester", "kaufmann", "-A", "service", "ingester")
    service.start("worker", "celery", "-A", "service", "worker", "-c", "3", "-n", service.name)

    shown: dict[str, Any] = {}

    def blocked() -> bool:
        shown.update(max(_status(service)["partitions"], key=lambda one: one["running"]))
        return bool(shown["running"] == 2 and shown["finished_above"] >= 5)

    eventually(blocked, "two held events and five finished above them")
    assert (shown["committed"], shown["blocking_offset"], shown["blocking_name"]) == (0, 0, "order.held")
    assert shown["outstanding"] == 2
    assert shown["waiting_for_retry"] == 0
    assert shown["owner"].endswith("@127.0.0.1")
    assert 0 < shown["blocking_age_s"] < DEADLINE_S * 2

    (service.directory / "go").touch()
    eventually(lambda: _status(service)["lag"] == 0, "all committed")


def test_an_ingester_until_the_end_handles_all_that_is_there_and_exits_with_0(service: TypedService) -> None:
    lines = "".join(f'{{"order_id": "{number}"}}\n' for number in range(20))
    service.kaufmann("publish", "order.placed", given=lines)
    service.start("worker", "celery", "-A", "service", "worker", "-c", "1", "-n", service.name)

    ingester = service.start(
        "ingester", "kaufmann", "-A", "service", "ingester", "--until-end", "--topics", service.name, "--group", "once"
    )

    assert ingester.wait(DEADLINE_S) == 0, service.log("ingester")
    confirmed = _events(service, service.name, "--name", "order.confirmed")
    assert {event["payload"]["order_id"] for event in confirmed} == {str(number) for number in range(20)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_ingester_that_is_told_to_stop_leaves_the_group_and_exits_with_0(
    service: TypedService, number: signal.Signals
) -> None:
    ingester = service.start("ingester", "kaufmann", "-A", "service", "ingester")
    eventually(lambda: f"assigned {service.name}:0" in service.log("ingester"), "an assignment")

    ingester.send_signal(number)
    if number == signal.SIGTERM:
        ingester.send_signal(number)

    assert ingester.wait(4.0) == 0
    assert f"{number.name}: stopping" in service.log("ingester")
    assert _status(service)["state"] == "Empty"


def test_the_same_commands_work_by_celery(service: TypedService) -> None:
    shown = service.run("celery", "-A", "service", "kaufmann", "config", "--json")
    failed = service.run("celery", "-A", "service", "kaufmann", "events", "no-such-topic")
    wrong = service.run("celery", "-A", "service", "kaufmann", "config", KAUFMANN_LEASE="soon")

    assert json.loads(shown.stdout)["service"]["value"] == service.name
    assert (failed.returncode, failed.stderr) == (1, "Error: topic no-such-topic does not exist\n")
    assert wrong.returncode == 2


def test_a_process_publishes_and_so_does_its_fork(service: TypedService) -> None:
    (service.directory / "script.py").write_text(
        "import os\n"
        "from service import kaufmann\n"
        "print(kaufmann.publish('order.placed', {'order_id': 'parent'}), flush=True)\n"
        "child = os.fork()\n"
        "print(kaufmann.publish('order.placed', {'order_id': 'forked' if child == 0 else 'again'}), flush=True)\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )

    done = service.run("python", "script.py")

    assert done.returncode == 0, done.stderr
    ids = {event["position"]: event["payload"]["order_id"] for event in _events(service, service.name)}
    assert sorted(ids.values()) == ["again", "forked", "parent"]
    assert sorted(ids) == sorted(done.stdout.splitlines())
