"""Wrong settings, and names registered twice: every process ends at once, with all faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.user_commands import INGESTER, WORKER, Commands

FAULTY = {
    "settings": (
        """
from kaufmann_celery import Kaufmann
kaufmann = Kaufmann("faulty", max_demand=0, commit_intervall=5)
celery = kaufmann.celery
""",
        ("max_demand", "commit_intervall", "commit_interval", "KAUFMANN_FRAMING"),
    ),
    "a name twice": (
        """
from kaufmann_celery import Kaufmann
kaufmann = Kaufmann("faulty", max_demand=0)
celery = kaufmann.celery

@kaufmann.on("order.placed")
def first(event): ...

@kaufmann.on("order.placed")
def second(event): ...

@kaufmann.on("order.*")
def third(event): ...

@kaufmann.on("order.*")
def fourth(event): ...
""",
        ("order.placed is registered twice", "order.* is registered twice", "max_demand", "KAUFMANN_FRAMING"),
    ),
    "an app of the user's": (
        """
from celery import Celery
from kaufmann_celery import Kaufmann
celery = Celery("faulty", broker="redis://127.0.0.1:1/0")
celery.conf.kaufmann_max_demant = 5
kaufmann = Kaufmann("faulty", celery=celery)

@kaufmann.on("order.placed")
def first(event): ...

@kaufmann.on("order.placed")
def second(event): ...
""",
        ("max_demant", "order.placed is registered twice", "KAUFMANN_FRAMING"),
    ),
}


@pytest.mark.parametrize(
    "command", [INGESTER, WORKER, ("celery", "-A", "service", "kaufmann", "ingester")], ids=" ".join
)
@pytest.mark.parametrize("case", FAULTY)
def test_wrong_settings_and_names_end_every_process_with_2_and_all_faults(
    tmp_path: Path, case: str, command: tuple[str, ...]
) -> None:
    source, expected = FAULTY[case]
    (tmp_path / "service.py").write_text(source)
    # Nothing answers there, and nothing is asked: settings are checked before anything connects.
    env = {"PATH": "/usr/bin:/bin", "KAUFMANN_FRAMING": "odd", "KAUFMANN_REDIS_URL": "redis://127.0.0.1:1/0"}

    ended = Commands(tmp_path, env).run(*command)

    assert ended.returncode == 2
    assert [fault for fault in expected if fault not in ended.stderr] == []
    assert "Traceback" not in ended.stderr
