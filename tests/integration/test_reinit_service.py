"""`kaufmann reinit-service`: each partition is replayed up to its own target, through the service's own workers."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition

from tests.integration.jobs import RECOVERY_S, Jobs, jobs
from tests.integration.service_process import eventually

COMMAND = ("kaufmann", "-A", "service", "reinit-service")


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path) -> Iterator[Jobs]:
    with jobs(tmp_path, stack, name="reinit") as one:
        yield one


def reinit(service: Jobs, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return service.typed.run(*COMMAND, *arguments, **env)


def offsets(service: Jobs, group: str | None = None) -> dict[int, int]:
    found = service.scene.kafka.committed(group or service.name)
    return {where.partition: offset for where, offset in found.items()}


def handle(service: Jobs, *ids: str) -> None:
    """Have an ingester handle *ids*, and stop it."""
    service.ingester()
    service.done(*ids)
    service.typed.stop("ingester")


def outputs(service: Jobs) -> int:
    return len(service.scene.kafka.read(service.scene.out))


def test_everything_is_handled_again_and_nothing_is_published(service: Jobs) -> None:
    ids = service.ask(20)
    failing = service.ask(1, "fail")
    service.worker()
    handle(service, *ids)
    published = outputs(service)

    planned = reinit(service)
    assert planned.returncode == 0, planned.stderr
    assert re.search(rf"(?m)^{service.name}:0 +0 +11 +11 +11$", planned.stdout)
    assert "nothing is published" in planned.stdout
    assert service.ran(*ids, *failing) == dict.fromkeys([*ids, *failing], 1)

    done = reinit(service, "--execute")
    assert done.returncode == 0, done.stderr
    assert "20 events handled, 1 failed, 0 records published" in done.stderr
    assert service.ran(*ids, *failing) == dict.fromkeys([*ids, *failing], 2)
    assert outputs(service) == published
    assert offsets(service) == {0: 11, 1: 10}

    service.ingester()
    service.scene.handles_what_follows()
    assert service.ran(*ids, *failing) == dict.fromkeys([*ids, *failing], 2)


def test_each_partition_stops_exactly_at_its_own_target(service: Jobs) -> None:
    ids = service.ask(30, partition=0) + service.ask(6, partition=1)
    service.worker()
    handle(service, *ids)
    more = service.ask(10)

    done = reinit(
        service, "--from", "2", "--to", "5", "--topic", f"{service.name}:0", "--topic", f"{service.name}:1", "--execute"
    )

    assert done.returncode == 0, done.stderr
    again = {one for one in ids if 2 <= service.positions[one].offset < 5}
    assert service.ran(*ids) == {one: 2 if one in again else 1 for one in ids}
    assert service.ran(*more) == dict.fromkeys(more, 0)
    assert "26 records behind the end are not new" in done.stdout
    assert offsets(service) == {0: 5, 1: 5}


def test_what_is_published_is_so_only_when_asked_for(service: Jobs) -> None:
    ids = service.ask(6)
    service.worker()
    handle(service, *ids)

    done = reinit(service, "--publish", "--execute")

    assert "6 records published" in done.stderr
    answers = service.scene.kafka.await_records(service.scene.out, lambda one: one.key == b"job.done", count=12)
    assert Counter(json.loads(one.value or b"")["id"] for one in answers) == dict.fromkeys(ids, 2)


def test_what_arrives_meanwhile_is_left_to_the_ingesters(service: Jobs) -> None:
    ids = service.ask(2, "until go")
    service.worker()
    service.typed.start("reinit", *COMMAND, "--execute")
    service.await_runs(ids, 2)
    later = service.ask(4)
    (service.typed.directory / "go").touch()

    assert service.typed.exit_code("reinit", RECOVERY_S) == 0, service.typed.log("reinit")
    assert service.ran(*ids, *later) == {**dict.fromkeys(ids, 1), **dict.fromkeys(later, 0)}
    assert offsets(service) == {0: 1, 1: 1}
    handle(service, *later)
    assert service.ran(*ids, *later) == dict.fromkeys([*ids, *later], 1)


def test_one_that_is_killed_is_gone_on_with_and_the_group_is_where_it_was(service: Jobs) -> None:
    ids = service.ask(40, "sleep 0.1")
    service.worker()
    handle(service, *ids[:2])
    before = offsets(service)
    service.typed.start("reinit", *COMMAND, "--to", "20", "--execute", KAUFMANN_COMMIT_THRESHOLD="2")
    eventually(
        lambda: sum(offsets(service, f"{service.name}.reinit").values()) > 10, "some of it", RECOVERY_S,
        service.typed.has_died,
    )  # fmt: skip
    service.typed.kill("reinit")
    assert offsets(service) == before
    ran = sum(service.ran(*ids).values())

    other = reinit(service, "--to", "19")
    assert (other.returncode, "another reinit was begun: --from earliest --to 20" in other.stderr) == (1, True)
    planned = reinit(service)
    assert "begun before, goes on: --from earliest --to 20" in planned.stdout

    done = reinit(service, "--execute")
    assert done.returncode == 0, done.stderr
    again = service.ran(*ids)
    assert 0 < ran - len(ids) < len(ids)
    assert again == dict.fromkeys(ids, 2)
    assert offsets(service) == {0: 20, 1: 20}
    assert "goes on" not in reinit(service).stdout


def test_one_that_is_told_to_stop_says_how_to_go_on(service: Jobs) -> None:
    ids = service.ask(2, "until go")
    service.worker()
    service.typed.start("reinit", *COMMAND, "--execute")
    service.await_runs(ids, 2)
    service.typed.signal("reinit")

    assert service.typed.exit_code("reinit") == 1
    assert "the same command goes on" in service.typed.log("reinit")
    (service.typed.directory / "go").touch()
    assert reinit(service, "--execute").returncode == 0
    assert service.ran(*ids) == dict.fromkeys(ids, 1)


def test_what_was_begun_is_forgotten_when_asked_for(service: Jobs) -> None:
    ids = service.ask(4, "until go")
    service.worker()
    service.typed.start("reinit", *COMMAND, "--execute")
    service.await_runs(ids, 2)
    service.typed.kill("reinit")
    (service.typed.directory / "go").touch()

    done = reinit(service, "--to", "1", "--anew", "--execute")

    assert done.returncode == 0, done.stderr
    assert offsets(service) == {0: 1, 1: 1}
    assert "goes on" not in reinit(service).stdout


def test_a_group_that_is_active_is_refused(service: Jobs) -> None:
    service.ask(2)
    service.ingester()
    eventually(lambda: f"assigned {service.name}:0" in service.typed.log("ingester"), "an assignment")

    done = reinit(service, "--execute")

    assert done.returncode == 1
    assert f"group {service.name} is active: " in done.stderr
    assert offsets(service, f"{service.name}.reinit") == {}


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["--to", "99"], 1, "NAME:0: offset 99 is beyond its end, 4"),
        (["--from", "1"], 1, "NAME:0: offset 1 is before its first record, 2"),
        (["--to", "1"], 1, "NAME:0: offset 1 is before its first record, 2"),
        (["--from", "4", "--to", "3"], 1, "NAME:0: its end, 3, is before its beginning, 4"),
        (["--to", "soon"], 2, "soon is no time"),
        (["--to", "committed"], 1, "the group has not committed here"),
        (["--topic", "elsewhere"], 1, "topic elsewhere is none that the service consumes"),
        (["--topic", "NAME:1", "--to", "1"], 1, "nothing to replay, for NAME:1 have no records"),
    ],
)
def test_a_target_that_is_not_there_is_told_and_nothing_is_begun(
    service: Jobs, stack: dict[str, str], arguments: list[str], exit_code: int, said: str
) -> None:
    service.ask(4, partition=0)
    delete_records(stack, service.name, 2)

    done = reinit(service, *(one.replace("NAME", service.name) for one in arguments), "--execute")

    assert (done.returncode, said.replace("NAME", service.name) in done.stderr) == (exit_code, True), done.stderr
    assert offsets(service) == {}
    assert offsets(service, f"{service.name}.reinit") == {}


def test_gaps_and_empty_partitions_are_passed_and_the_target_is_met(service: Jobs, stack: dict[str, str]) -> None:
    """Partition 0 begins at 2 and has no records at 6 and 7, as after a compaction; 1 is empty."""
    ids = service.ask(6, partition=0)
    delete_records(stack, service.name, 2)
    service.scene.kafka.send_aborted(service.name, b"job.asked")
    ids += service.ask(1, partition=0)
    service.worker()

    for target in (7, 9):
        before = service.ran(*ids)
        done = reinit(service, "--to", str(target), "--execute")

        assert done.returncode == 0, done.stderr
        assert re.search(rf"(?m)^{service.name}:1 +0 +0 +no records ", done.stdout)
        assert offsets(service) == {0: target, 1: 0}
        again = {one: int(2 <= service.positions[one].offset < target) for one in ids}
        assert service.ran(*ids) - before == Counter(again) - Counter()


def test_a_group_that_was_moved_meanwhile_stays_where_it_was_put(service: Jobs) -> None:
    ids = service.ask(2, "until go")
    service.worker()
    service.typed.start("reinit", *COMMAND, "--execute")
    service.await_runs(ids, 2)
    service.typed.run("kaufmann", "-A", "service", "offsets", "reset", "--to-earliest", "--execute")
    (service.typed.directory / "go").touch()

    assert service.typed.exit_code("reinit", RECOVERY_S) == 1
    assert "somebody moved group" in service.typed.log("reinit")
    assert offsets(service) == {0: 0, 1: 0}


def test_a_function_does_the_same(service: Jobs) -> None:
    ids = service.ask(4)
    service.worker()
    (service.typed.directory / "script.py").write_text(
        "import logging\n"
        "logging.basicConfig(level='INFO')\n"
        "from service import kaufmann\n"
        "from kaufmann_celery.release import reinit_service\n"
        "print(reinit_service(kaufmann, starting_offset=1, target_offset='latest', anew=True))\n"
    )

    done = service.typed.run("python", "script.py")

    assert "handled=2, failed=0, published=0, is_done=True" in done.stdout, done.stderr
    assert "reinit: 100%, 2 of 2" in done.stderr
    assert service.ran(*ids) == {one: int(service.positions[one].offset >= 1) for one in ids}


def delete_records(stack: dict[str, str], topic: str, before: int) -> None:
    """Have Kafka forget the records of partition 0 before an offset, as retention does."""
    admin: Any = KafkaAdminClient(bootstrap_servers=stack["KAUFMANN_BROKERS"])
    admin.delete_records({TopicPartition(topic, 0): before})
    admin.close()
