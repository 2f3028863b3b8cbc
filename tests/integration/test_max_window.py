"""`max_window`: how far finished work runs ahead of a stuck event, and who says which event that is."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.jobs import RECOVERY_S, jobs
from tests.integration.service_process import eventually

_WINDOW = 20


def test_a_stuck_event_stops_its_partition_at_the_window_and_is_named(stack: dict[str, str], tmp_path: Path) -> None:
    settings = {"max_demand": "10", "max_window": str(_WINDOW)}
    with jobs(tmp_path, stack, name="window", settings=settings) as service:
        # The worker runs already: what is said of the event that is stuck depends on when it began.
        service.worker()
        service.ingester("before")
        service.done(*service.ask(1, partition=1))
        service.typed.stop("before")
        (stuck,) = service.ask(1, "until go", partition=0)
        behind = service.ask(100, partition=0)
        others = service.ask(100, partition=1)
        service.ingester("ingester", "--until-end")
        where = f"job.asked at {service.name}:0:0"

        def log() -> str:
            return service.typed.log("ingester")

        eventually(lambda: "max_window (20) is reached" in log(), "the log says so", RECOVERY_S, service.typed.has_died)
        assert f"{where} holds back its partition (a worker runs it, " in log()
        service.await_runs(others, len(others))
        # Also those that shared its task: they are given back after a second, and run elsewhere.
        service.await_runs(behind, _WINDOW - 1)
        assert sum(service.ran(*behind).values()) == _WINDOW - 1
        commit = service.commit(0)
        assert commit is not None
        assert commit.offset == 0
        (first, _) = json.loads(service.typed.run("kaufmann", "-A", "service", "status", "--json").stdout)["partitions"]
        assert (first["blocking_offset"], first["blocking_name"]) == (0, "job.asked")

        # Nothing else was said of it meanwhile: once a minute is enough.
        assert log().count("max_window") == 1
        service.typed.stop("ingester")
        assert f"{where} holds back its partition" in log().splitlines()[-2]
        assert "stopped before the end, offset 101" in log().splitlines()[-2]
        service.ingester("ingester", "--until-end")
        (tmp_path / "go").touch()
        assert service.typed.exit_code("ingester", RECOVERY_S) == 0
        service.done(stuck, *behind, *others)
        service.ran_once(stuck, *behind, *others)


def test_a_gap_that_is_longer_than_the_window_is_passed(stack: dict[str, str], tmp_path: Path) -> None:
    """Offsets that hold no events, here of a transaction that was aborted, count for nothing."""
    settings = {"max_demand": "10", "max_window": str(_WINDOW)}
    with jobs(tmp_path, stack, name="gap", settings=settings) as service:
        before = service.ask(5, partition=0)
        service.scene.kafka.send_aborted(service.name, b"job.asked", 5 * _WINDOW)
        after = service.ask(5, partition=0)
        service.worker()
        service.ingester()
        service.done(*before, *after)
        service.ran_once(*before, *after)
