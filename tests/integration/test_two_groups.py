"""Two consumer groups of one service, on one broker and one worker: each event is each group's own."""

from __future__ import annotations

from pathlib import Path

from tests.integration.scene import BLOCKING_HANDLERS, GOOD, avro, scene
from tests.integration.service_process import eventually
from tests.integration.user_commands import INGESTER, ONE_WORKER, commands

PATIENCE_S = 90.0

SERVICE = (
    """
import time
from pathlib import Path
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery

def note(word):
    with open("runs", "a") as runs:
        runs.write(word + "\\n")
"""
    + BLOCKING_HANDLERS
)


def test_a_revoke_of_one_groups_task_leaves_the_others_alone(tmp_path: Path, stack: dict[str, str]) -> None:
    schemas = {"order.blocking": GOOD, "order.held": GOOD}
    with scene(tmp_path, stack, SERVICE, name="groups", schemas=schemas) as one, commands(one) as typed:
        audit = f"{one.name}-audit"
        typed.start_service("-c", "2")
        typed.start("audit", *INGESTER, "--group", audit)
        one.send(b"order.blocking", avro(GOOD, {"id": "1"}))
        eventually(lambda: typed.notes().count("blocking") == 2, "the worker is busy", PATIENCE_S, typed.has_died)
        position = one.send(b"order.held", avro(GOOD, {"id": "held"}))

        revoked = typed.run(
            "celery", "-A", "service", "control", *ONE_WORKER, "revoke", f"order.held@{audit}/{position}.1"
        )
        (typed.directory / "go").touch()

        assert revoked.returncode == 0, revoked.stderr
        for group in (one.name, audit):
            one.kafka.await_all_committed(group, one.name, PATIENCE_S)
        assert typed.notes().count("held") == 1
        (failed,) = [found for found in one.kafka.read(one.out) if found.original == position]
        assert failed.header["kaufmann-group"] == audit.encode()
        assert failed.header["kaufmann-error-type"] == b"TaskRevokedError"
