from __future__ import annotations

from dataclasses import replace

from kaufmann_celery.tasks.envelope import Decoded
from tests.unit.ledger_in_memory import event


def test_an_events_id_is_its_message_id_else_its_position() -> None:
    pending = event(7)
    topic, partition = pending.record.topic, pending.record.partition

    assert pending.id == f"{topic}:{partition}:7"
    assert replace(pending, decoded=Decoded("order.placed", None, "", {"message_id": "m9"})).id == "m9"
