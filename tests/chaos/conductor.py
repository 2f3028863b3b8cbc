"""A whole run: the stack, the processes, the events and the faults, and at the end the evidence of it all."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from kaufmann_celery.registry.client import SchemaRegistry
from tests.chaos import journal
from tests.chaos.evidence import Evidence, Setting
from tests.chaos.faults import Faults
from tests.chaos.kafka_evidence import committed_and_end, read_group, read_published, read_sent
from tests.chaos.options import Options
from tests.chaos.outstanding import OutstandingPoller
from tests.chaos.production import SCHEMA, SUBJECTS, Production
from tests.chaos.redis_tail import RedisTail
from tests.chaos.schedule import Fault, lasts_s, schedule
from tests.chaos.stack import ChaosStack
from tests.chaos.supervision import Supervisor

ROOT = Path(__file__).parents[2]
#: A fault in full, with a service that is slow to come back, in seconds.
_FAULT_WITHIN_S = 180.0
#: What is left after the last fault is to be committed within so long after it stopped getting less, in seconds.
_STUCK_S = 60.0
_LOOK_EVERY_S = 1.0
_START_WITHIN_S = 120.0

Say = Callable[[str], None]


def run(options: Options, say: Say) -> Evidence:
    """Run, and return what was seen. What is needed for a diagnosis stays in the directory."""
    shutil.rmtree(options.directory, ignore_errors=True)
    (options.directory / "schemas").mkdir(parents=True)
    if options.package is None:
        options = replace(options, package=_snapshot(options.directory / "package"))
    faults = schedule(options)
    (options.directory / "schedule.txt").write_text("".join(f"{fault}\n" for fault in faults))
    with ChaosStack(options.directory) as stack:
        say(f"services are up, {len(faults)} faults in {lasts_s(faults):.0f} s, logs in {options.directory}")
        _prepare(options, stack)
        with _processes(options, stack) as supervisor, _looking_on(options, stack) as (tail, poller):
            striking = Faults(stack, supervisor, tail)
            began, gave_up = _go(options, stack, faults, striking, say)
            supervisor.stop()
        evidence = _evidence(options, stack)
    evidence.incidents, evidence.lives = striking.incidents, supervisor.lives
    evidence.samples, evidence.owners = poller.samples, poller.claims.owners
    evidence.began, evidence.gave_up = began, gave_up
    evidence.save(options.directory / "evidence.json")
    return evidence


def _snapshot(directory: Path) -> Path:
    """Copy what the processes import: those that are started again run the same, whatever is edited meanwhile."""
    for name in ("kaufmann_celery", "tests/chaos"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def _prepare(options: Options, stack: ChaosStack) -> None:
    registry = SchemaRegistry([stack.registry_url])
    for subject in SUBJECTS:
        registry.register(subject, SCHEMA)
    admin: Any = KafkaAdminClient(bootstrap_servers=stack.brokers)
    for topic in _topics(options):
        # The broker's own clock, for events, outputs and commits alike.
        configs = {"message.timestamp.type": "LogAppendTime"}
        one = {"num_partitions": options.partitions, "replication_factor": 1, "configs": configs}
        admin.create_topics({topic: one}, wait_for_metadata=True)
    admin.close()


def _topics(options: Options) -> list[str]:
    return [options.service, f"{options.service}.out", f"{options.service}.errors"]


def _environment(options: Options, stack: ChaosStack) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KAUFMANN_", "CELERY_"))}
    topic, out, errors = _topics(options)
    return {
        **kept,
        **stack.settings(),
        "PYTHONPATH": os.pathsep.join([str(options.package), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
        "CHAOS_SERVICE": options.service,
        "CHAOS_JOURNAL": str(options.directory / "journal"),
        "KAUFMANN_DEFAULT_TOPIC": topic,
        "KAUFMANN_DEFAULT_PUBLISH_TOPIC": out,
        "KAUFMANN_ERROR_TOPIC": errors,
        "KAUFMANN_DELIVERY": options.delivery,
        "KAUFMANN_ORDERING": options.ordering,
        "KAUFMANN_SCHEMA_PATH": str(options.directory / "schemas"),
    }


@contextmanager
def _processes(options: Options, stack: ChaosStack) -> Iterator[Supervisor]:
    supervisor = Supervisor(
        options.directory,
        _environment(options, stack),
        guard=stack.guards,
        service=options.service,
        processes=options.processes,
    )
    supervisor.start()
    try:
        for role, count in (("ingester", options.ingesters), ("worker", options.workers)):
            for _ in range(count):
                supervisor.add(role)
        yield supervisor
    finally:
        supervisor.stop()


@contextmanager
def _looking_on(options: Options, stack: ChaosStack) -> Iterator[tuple[RedisTail, OutstandingPoller]]:
    tail = RedisTail(stack)
    poller = OutstandingPoller(stack.redis_port, options.service, waiting_holds=options.ordering != "unordered")
    tail.start()
    poller.start()
    try:
        yield tail, poller
    finally:
        poller.stop()
        tail.stop()


def _go(options: Options, stack: ChaosStack, faults: list[Fault], striking: Faults, say: Say) -> tuple[float, str]:
    """Write events and strike until all faults have ended and all is committed.

    Return since when all processes were at work, and why it was given up, if so.
    """
    production = Production(
        stack.brokers,
        options.service,
        seed=options.seed,
        partitions=options.partitions,
        events=options.events,
        per_s=options.events / lasts_s(faults),
    )
    production.start()
    began = time.time()
    _await_runs(options)
    say(f"the first events ran after {time.time() - began:.0f} s")
    began, started = time.time(), time.monotonic()
    _strike_all(faults, striking, started, say)
    production.finish(timeout_s=120 + options.events / 100)
    say(f"{production.written} events written in {time.monotonic() - started:.0f} s; waiting until all is committed")
    gave_up = _await_committed(options, stack)
    say(gave_up or f"all is committed after {time.monotonic() - started:.0f} s")
    return began, gave_up


def _await_runs(options: Options) -> None:
    """Wait until every worker's processes have run something."""
    deadline, tick = time.monotonic() + _START_WITHIN_S, threading.Event()
    path, wanted = options.directory / "journal", options.workers * options.processes
    while time.monotonic() < deadline and not tick.wait(0.2):
        if path.exists():
            with path.open() as lines:
                if len({run.pid for run in journal.read(lines)[0]}) == wanted:
                    return
    raise TimeoutError(f"the processes were not at work within {_START_WITHIN_S:.0f} s; see {options.directory}")


def _strike_all(faults: list[Fault], striking: Faults, started: float, say: Say) -> None:
    tick = threading.Event()
    with ThreadPoolExecutor(max_workers=len(faults) or 1) as pool:
        going: list[Future[None]] = []
        for fault in faults:
            tick.wait(max(0.0, started + fault.at_s - time.monotonic()))
            going.append(pool.submit(striking.strike, fault))
            say(f"{time.monotonic() - started:6.1f} s  fault {fault.number + 1}/{len(faults)}: {fault.kind}")
        for one in going:
            one.result(_FAULT_WITHIN_S)


def _await_committed(options: Options, stack: ChaosStack) -> str:
    """Wait until all is committed; return what is missing once nothing has moved for too long."""
    best, moved_at, tick = -1, time.monotonic(), threading.Event()
    committed = end = 0
    while time.monotonic() - moved_at < _STUCK_S:
        try:
            committed, end = committed_and_end(stack.brokers, options.service, options.service)
        except KafkaError:
            tick.wait(_LOOK_EVERY_S)
            continue
        if committed == end:
            return ""
        if committed > best:
            best, moved_at = committed, time.monotonic()
        tick.wait(_LOOK_EVERY_S)
    return f"given up: {committed} of {end} committed, and no more for {_STUCK_S:.0f} s"


def _evidence(options: Options, stack: ChaosStack) -> Evidence:
    topic, out, errors = _topics(options)
    with (options.directory / "journal").open() as lines:
        runs, shift = journal.read(lines)
    committed, generations = read_group(stack.kafka_data, options.service, topic)
    return Evidence(
        setting=Setting(delivery=options.delivery, ordering=options.ordering),
        sent=read_sent(stack.brokers, topic),
        published=[*read_published(stack.brokers, out), *read_published(stack.brokers, errors)],
        commits=committed,
        generations=generations,
        runs=runs,
        clock_shift_s=shift,
    )
