"""`kaufmann offsets reset`: the group is moved, its ledger with it, and nothing without --execute."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.jobs import Jobs, jobs
from tests.integration.service_process import eventually


@pytest.fixture
def service(stack: dict[str, str], tmp_path: Path) -> Iterator[Jobs]:
    with jobs(tmp_path, stack, name="reset") as one:
        yield one


def reset(service: Jobs, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return service.typed.run("kaufmann", "-A", "service", "offsets", "reset", *arguments, **env)


def committed(service: Jobs) -> dict[int, int]:
    return {where.partition: offset for where, offset in service.scene.kafka.committed(service.name).items()}


def handle_all(service: Jobs, count: int) -> list[str]:
    """Have *count* jobs handled and committed, half of them in each partition, and stop the ingester."""
    ids = service.ask(count)
    service.ingester()
    service.worker()
    service.done(*ids)
    service.typed.stop("ingester")
    return ids


def test_a_group_is_moved_only_when_told_to_and_then_handles_again(service: Jobs) -> None:
    ids = handle_all(service, 10)

    planned = reset(service, "--shift-by", "-2")
    assert planned.returncode == 0, planned.stderr
    assert re.search(rf"(?m)^{service.name}:1 +5 +3 +0 +5 +2 again$", planned.stdout)
    assert "--execute" in planned.stderr
    assert committed(service) == {0: 5, 1: 5}

    assert reset(service, "--shift-by", "-2", "--topic", f"{service.name}:1", "--execute").returncode == 0
    assert committed(service) == {0: 5, 1: 3}

    service.ingester()
    again = [one for one in ids if service.positions[one].partition == 1][3:]
    eventually(lambda: all(service.ran(*again)[one] == 2 for one in again), "they ran again", 60)
    service.scene.kafka.await_all_committed(service.name, service.name)
    assert service.ran(*ids) == {one: 2 if one in again else 1 for one in ids}


def test_a_group_that_is_active_is_refused_and_its_members_named(service: Jobs) -> None:
    service.ask(2)
    service.ingester()
    eventually(lambda: f"assigned {service.name}:0" in service.typed.log("ingester"), "an assignment")

    for arguments in ([], ["--execute"]):
        done = reset(service, "--to-latest", *arguments)
        assert done.returncode == 1
        assert f"group {service.name} is active: " in done.stderr
        assert f"({service.name}:0, {service.name}:1)" in done.stderr
    # The incarnation is committed, and that is all.
    assert set(committed(service).values()) <= {0}


def test_what_was_outstanding_counts_no_more(service: Jobs) -> None:
    (blocked,) = service.ask(1, "until go", partition=0)
    service.ingester()
    service.worker()
    service.await_runs([blocked])
    service.typed.stop("ingester")

    done = reset(service, "--to-latest", "--execute")

    assert done.returncode == 0, done.stderr
    assert "1 events are outstanding" in done.stdout
    (service.typed.directory / "go").touch()
    after = service.ask(2)
    service.ingester()
    service.done(*after)
    assert service.ran(blocked, word="end") == {blocked: 1}
    assert not [one for one in service.scene.kafka.read(service.scene.out) if blocked.encode() in (one.value or b"")]


def test_every_form_moves_each_partition_to_its_own_place(service: Jobs) -> None:
    kafka, now = service.scene.kafka, datetime.now(UTC)
    for partition, ages_h in ((0, [5, 4, 3]), (1, [3.5])):
        for age_h in ages_h:
            moment = now - timedelta(hours=age_h)
            kafka.send(service.name, b"ignored", b"", partition=partition, timestamp_ms=int(moment.timestamp() * 1000))
    then = (now - timedelta(hours=4)).isoformat(timespec="milliseconds")

    for arguments, expected in (
        (["--to-latest"], {0: 3, 1: 1}),
        (["--to-earliest"], {0: 0, 1: 0}),
        (["--to-offset", "1"], {0: 1, 1: 1}),
        (["--to-datetime", then], {0: 1, 1: 0}),
        (["--to-datetime", "1h"], {0: 3, 1: 1}),
        (["--shift-by", "-2"], {0: 1, 1: 0}),
        (["--to-offset", "2", "--topic", f"{service.name}:0"], {0: 2, 1: 0}),
    ):
        done = reset(service, *arguments, "--execute", "--json")
        assert done.returncode == 0, done.stderr
        assert committed(service) == expected
        said = json.loads(done.stdout)
        assert said["executed"]
        assert all(expected[one["partition"]] == one["after"] for one in said["partitions"])


def test_a_place_that_is_not_there_moves_nothing(service: Jobs) -> None:
    service.ask(4)
    reset(service, "--to-offset", "1", "--execute")

    for arguments, said in (
        (["--to-offset", "3"], f"{service.name}:0: offset 3 is beyond its end, 2"),
        (["--to-latest", "--topic", "elsewhere"], "topic elsewhere is none that the service consumes"),
        (["--to-latest", "--topic", f"{service.name}:0,7"], f"topic {service.name} has no partition 7"),
    ):
        done = reset(service, *arguments, "--execute")
        assert done.returncode == 1
        assert said in done.stderr
    assert committed(service) == {0: 1, 1: 1}


def test_a_service_that_is_away_moves_nothing(service: Jobs) -> None:
    service.ask(2)
    reset(service, "--to-offset", "1", "--execute")

    for env in ({"KAUFMANN_REDIS_URL": "redis://127.0.0.1:1"}, {"KAUFMANN_BROKERS": "127.0.0.1:1"}):
        done = reset(service, "--to-earliest", "--execute", **env)
        assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
    assert committed(service) == {0: 1, 1: 1}
