"""`max_demand=1` is strict sequence: one event after the other, in the partition's order, whoever runs them."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from tests.integration.kafka_topics import Bystander
from tests.integration.service_process import ROLES, eventually, service, unique
from tests.integration.test_every_event_once import _produce, _register

_EVENTS = 300

_SOURCE = """
import os
import time
from kaufmann_celery import Event, Kaufmann

kaufmann = Kaufmann("{name}", max_demand=1)
celery = kaufmann.celery


@kaufmann.on("order.placed")
def note(event: Event):
    start = time.monotonic_ns()
    time.sleep(0.002)
    with open("runs", "a") as runs:
        runs.write(f"{{event.offset}} {{start}} {{time.monotonic_ns()}} {{os.getpid()}}\\n")
"""


def test_two_workers_of_two_processes_run_events_in_order_and_never_two_at_once(
    stack: dict[str, str], tmp_path: Path
) -> None:
    name = unique("sequence")
    _register(stack)
    with (
        Bystander(stack["KAUFMANN_BROKERS"]) as kafka,
        service(tmp_path, stack, _SOURCE.format(name=name), name=name, settings={}) as running,
        service(tmp_path, stack, _SOURCE.format(name=name), name=f"{name}-2", settings={}) as second,
    ):
        kafka.create(name, 1)
        _produce(stack["KAUFMANN_BROKERS"], name, 0)
        for number in range(_EVENTS):
            kafka.send(name, b"order.placed", bytes([2 * len(str(number))]) + str(number).encode())
        running.start(*ROLES)
        second.start("worker")
        eventually(lambda: len(running.runs()) >= _EVENTS, "all events run", 120, running.has_died)
        kafka.await_all_committed(name, name)

    runs = [tuple(map(int, line.split())) for line in running.runs()]
    assert [offset for offset, *_ in runs] == list(range(_EVENTS))
    assert all(before[2] <= after[1] for before, after in pairwise(runs))
    assert len({pid for *_, pid in runs}) > 1
