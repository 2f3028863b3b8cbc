"""`kaufmann errors`: failed events are listed, shown, and handed to this group's handlers once more."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kaufmann_celery.event import Position
from kaufmann_celery.registry.local_schemas import shipped_error_schema
from tests.integration.jobs import JOB, RECOVERY_S, Jobs, jobs
from tests.integration.service_process import eventually
from tests.integration.user_commands import INGESTER

ERRORS = ("kaufmann", "-A", "service", "errors")

SERVICE = """
import time
from pathlib import Path
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery


def note(word, event):
    with open("runs", "a") as runs:
        runs.write(f"{word} {event.payload['id']} {event.attempt} {event.name} {time.monotonic()}\\n")


@kaufmann.on("job.asked", "job.other")
def ask(event):
    note("begin", event)
    match event.payload["act"].split():
        case ["unless", file] if not Path(file).exists():
            raise ValueError(f"there is no {file}")
        case ["until", file]:
            while not Path(file).exists():
                time.sleep(0.02)
            if not Path("fixed").exists():
                raise ValueError("not fixed")
        case ["fail"]:
            raise ValueError("as asked")
    note("end", event)
    return Output("job.done", {"id": event.payload["id"]}, format="json")
"""


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path) -> Iterator[Jobs]:
    settings = {"error_topic": "NAME.errors"}
    with jobs(tmp_path, stack, SERVICE, name="replay", settings=settings) as one:
        one.scene.kafka.create(f"{one.name}.errors")
        one.scene.registry.register("job.other", JOB)
        one.scene.registry.register("event.error", shipped_error_schema())
        yield one


def errors(service: Jobs, *arguments: str) -> subprocess.CompletedProcess[str]:
    return service.typed.run(*ERRORS, *arguments)


def replay(service: Jobs, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = errors(service, "replay", *arguments)
    assert done.returncode == 0, done.stderr
    return done


def listed(service: Jobs, *arguments: str) -> dict[str, Any]:
    done = errors(service, "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return {one["event"]: one for one in json.loads(done.stdout)}


def fail(service: Jobs, *ids: str) -> None:
    """Run the service until each of *ids* has failed."""
    service.worker()
    service.ingester()
    positions = {service.positions[one] for one in ids}
    service.scene.kafka.await_records(
        f"{service.name}.errors", lambda one: one.original in positions, count=len(ids), timeout_s=RECOVERY_S
    )
    service.scene.kafka.await_all_committed(service.name, service.name, RECOVERY_S)


def answers(service: Jobs) -> list[str]:
    found = service.scene.kafka.read(service.scene.out)
    return sorted(json.loads(one.value or b"")["id"] for one in found if one.key == b"job.done")


def at(service: Jobs, one: str) -> str:
    return str(service.positions[one])


def test_failed_events_are_found_by_name_time_and_position(service: Jobs) -> None:
    ok = service.ask(3)
    failed = service.ask(2, "unless fixed")
    (other,) = service.ask(1, "unless fixed", name="job.other")
    fail(service, *failed, other)

    assert set(listed(service)) == {at(service, one) for one in (*failed, other)}
    assert set(listed(service, "--name", "*.other")) == {at(service, other)}
    assert set(listed(service, "--event", at(service, failed[0]))) == {at(service, failed[0])}
    assert len(listed(service, "--since", "1h")) == 3
    assert listed(service, "--since", "2100-01-01") == {}
    one = listed(service)[at(service, other)]
    assert (one["name"], one["error_type"], one["error"]) == ("job.other", "ValueError", "there is no fixed")
    text = errors(service, "list").stdout
    assert re.search(
        rf"(?m)^{at(service, other)} +job\.other +\S+ +1 +ValueError: there is no fixed +- +to replay$", text
    )
    assert errors(service, "list", "--event", "somewhere").returncode == 2
    assert all(at(service, one) not in text for one in ok)


def test_one_is_shown_with_its_error_event_and_its_own_record(service: Jobs) -> None:
    (failed,) = service.ask(1, "unless fixed")
    fail(service, failed)

    done = errors(service, "show", "--event", at(service, failed))

    shown = json.loads(done.stdout)
    assert shown["original"]["payload"] == {"id": failed, "act": "unless fixed"}
    assert shown["error_event"]["name"] == "event.error.job.asked"
    assert shown["error_event"]["headers"]["kaufmann-original-offset"] == str(service.positions[failed].offset)
    assert shown["error_event"]["payload"]["error"] == "there is no fixed"
    assert errors(service, "show", "--event", f"{service.name}:0:77").returncode == 1


def test_an_event_that_has_not_failed_is_a_fault_and_that_none_has_is_not(service: Jobs) -> None:
    (failed,) = service.ask(1, "unless fixed")

    assert errors(service, "replay").returncode == 0
    assert "no event of this group has failed" in errors(service, "replay", "--execute").stdout
    fail(service, failed)
    for more in ((), ("--execute",)):
        done = errors(service, "replay", "--event", f"{service.name}:0:77", *more)
        assert done.returncode == 1
        assert "no failed event of this group is as --event asks" in done.stderr


def test_what_failed_is_handed_over_once_while_the_group_goes_on(service: Jobs) -> None:
    failed = service.ask(4, "unless fixed")
    (other,) = service.ask(1, "unless fixed", name="job.other")
    fail(service, *failed, other)
    (service.typed.directory / "fixed").touch()

    planned = replay(service, "--name", "job.asked")
    assert "4 to replay" in planned.stdout
    assert service.ran(*failed) == dict.fromkeys(failed, 1)

    done = replay(service, "--name", "job.asked", "--execute")
    assert "replayed 4: 4 handled, 0 failed again" in done.stderr
    assert service.ran(*failed, other) == {**dict.fromkeys(failed, 2), other: 1}
    assert answers(service) == sorted(failed)

    second = replay(service, "--name", "job.asked", "--execute")
    assert "4 replayed" in second.stdout
    assert "replayed 0: " in second.stderr
    assert service.ran(*failed) == dict.fromkeys(failed, 2)

    again = replay(service, "--event", at(service, failed[0]), "--again", "--execute")
    assert "replayed 1: 1 handled" in again.stderr
    assert service.ran(*failed) == {**dict.fromkeys(failed, 2), failed[0]: 3}
    assert listed(service)[at(service, failed[0])]["replays"] == 2
    # The group itself goes on, and knows nothing of all this.
    after = service.ask(2)
    service.done(*after)
    assert service.ran(*after) == dict.fromkeys(after, 1)


def test_what_fails_again_is_a_failure_once_more_and_not_replayed_unasked(service: Jobs) -> None:
    (failed,) = service.ask(1, "fail")
    fail(service, failed)

    done = replay(service, "--execute")

    assert "replayed 1: 0 handled, 1 failed again" in done.stderr
    assert len(service.scene.kafka.read(f"{service.name}.errors")) == 2
    assert listed(service)[at(service, failed)]["state"] == "failed again"
    assert "replayed 0: " in replay(service, "--execute").stderr
    assert service.ran(failed) == {failed: 2}


def test_another_groups_failures_and_handlers_are_left_alone(service: Jobs) -> None:
    failed, theirs = service.ask(1, "unless fixed"), service.ask(1)
    audit = f"{service.name}-audit"
    fail(service, *failed)
    (service.typed.directory / "fixed").touch()
    service.typed.start("audit", *INGESTER, "--group", audit)
    service.scene.kafka.await_all_committed(audit, service.name, RECOVERY_S)
    position, kafka = service.positions[theirs[0]], service.scene.kafka
    (own,) = kafka.read(f"{service.name}.errors")
    facts = {**own.header, "kaufmann-group": audit.encode(), "kaufmann-original-offset": str(position.offset).encode()}
    kafka.send(f"{service.name}.errors", own.key, own.value, [(name, value or b"") for name, value in facts.items()])

    assert "1 to replay" in replay(service).stdout
    before = service.ran(*failed, *theirs)
    replay(service, "--execute")

    assert service.ran(*failed, *theirs) - before == dict.fromkeys(failed, 1)
    listed_there = service.typed.run(*ERRORS, "list", "--json", KAUFMANN_CONSUMER_GROUP=audit)
    assert [(one["event"], one["replays"]) for one in json.loads(listed_there.stdout)] == [(str(position), 0)]


def test_a_record_that_is_gone_is_a_fault_and_the_others_are_replayed(service: Jobs, stack: dict[str, str]) -> None:
    from tests.integration.test_reinit_service import delete_records

    first, second = service.ask(2, "unless fixed", partition=0)
    fail(service, first, second)
    (service.typed.directory / "fixed").touch()
    delete_records(stack, service.name, 1)

    for arguments in ([], ["--execute"]):
        done = errors(service, "replay", *arguments)
        assert done.returncode == 1
        assert f"retention or compaction has removed {at(service, first)}" in done.stderr
        assert re.search(rf"(?m)^{at(service, first)} .* gone$", done.stdout)
    assert service.ran(first, second) == {first: 1, second: 2}
    shown = json.loads(errors(service, "show", "--event", at(service, first)).stdout)
    assert shown["original"].startswith("gone")


def test_a_replay_that_is_killed_is_gone_on_with_and_repeats_nothing(service: Jobs) -> None:
    failed = service.ask(12, "until go")
    (service.typed.directory / "go").touch()
    fail(service, *failed)
    for file in ("go", "fixed"):
        (service.typed.directory / file).unlink(missing_ok=True)
    (service.typed.directory / "fixed").touch()
    service.typed.start("replay", *ERRORS, "replay", "--execute")
    eventually(lambda: sum(service.ran(*failed).values()) > len(failed), "one begins", RECOVERY_S)
    service.typed.kill("replay")
    (service.typed.directory / "go").touch()

    planned = replay(service, "--name", "nothing.at.all")
    assert "12 begun" in planned.stdout
    done = replay(service, "--execute")

    assert "replayed 12: 12 handled" in done.stderr
    assert service.ran(*failed) == dict.fromkeys(failed, 2)
    assert answers(service) == sorted(failed)
    assert "12 replayed" in replay(service, "--execute").stdout
    assert service.ran(*failed) == dict.fromkeys(failed, 2)


def test_records_far_apart_are_found(service: Jobs) -> None:
    kafka = service.scene.kafka
    failed = service.ask(1, "unless fixed", partition=0)
    kafka.send_all(service.name, ((0, b"ignored", b"x" * 100, ()) for _ in range(5000)))
    failed += service.ask(1, "unless fixed", partition=0)
    kafka.send_all(service.name, ((0, b"ignored", b"x" * 100, ()) for _ in range(700)))
    failed += service.ask(1, "unless fixed", partition=0)
    fail(service, *failed)
    (service.typed.directory / "fixed").touch()

    assert "replayed 3: 3 handled" in replay(service, "--execute").stderr
    assert answers(service) == sorted(failed)


def test_undecodable_records_are_replayed_once_their_schema_is_there(service: Jobs) -> None:
    service.worker()
    service.ingester()
    position = service.scene.send(b"job.asked", b"\xff")
    service.scene.kafka.await_records(f"{service.name}.errors", lambda one: one.original == position)

    done = replay(service, "--execute")

    assert "replayed 1: 0 handled, 1 failed again" in done.stderr
    assert listed(service)[str(position)]["error_type"] == "DecodeError"


def test_a_topic_made_anew_has_other_records_at_these_places(service: Jobs) -> None:
    (failed,) = service.ask(1, "unless fixed", partition=0)
    fail(service, failed)
    service.typed.stop("ingester")
    service.scene.kafka.create_anew(service.name)
    (other,) = service.ask(1, partition=0)
    assert service.positions[failed] == service.positions[other] == Position(service.name, 0, 0)

    done = errors(service, "replay", "--execute")

    assert done.returncode == 1
    assert f"retention or compaction has removed {at(service, failed)}" in done.stderr
    assert service.ran(failed, other) == {failed: 1, other: 0}


@pytest.mark.parametrize("delivery", ["exactly_once"])
def test_outputs_of_a_replay_are_as_the_service_delivers_them(service: Jobs, delivery: str) -> None:
    failed = service.ask(4, "unless fixed")
    fail(service, *failed)
    (service.typed.directory / "fixed").touch()

    done = service.typed.run(*ERRORS, "replay", "--execute", KAUFMANN_DELIVERY=delivery)

    assert "replayed 4: 4 handled" in done.stderr, done.stderr
    assert answers(service) == sorted(failed)
    assert "4 replayed" in replay(service, "--execute").stdout
