"""Starts everything, publishes the plan, shows what becomes of it, and checks that in Kafka."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from examples.demo import services
from examples.demo.counting import ERROR, Tally, create_topic, faults
from examples.demo.screen import Screen
from examples.demo.services import BIN, ROOT, SERVICE, DemoError, Services
from examples.demo.traffic import Planned, plan
from kaufmann_celery.errors import KaufmannError
from kaufmann_celery.local import LocalStack

TOPIC = GROUP = "orders"
#: So that nobody waits for the last commit.
FASTER = {"KAUFMANN_COMMIT_INTERVAL": "0.5"}
#: Names the services that an earlier demo left running.
KEPT = "services.json"
#: Events published between two looks at what came back.
_CHUNK = 12
_DEADLINE_S = 90.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the stack and the services running")
    parser.add_argument("--directory", type=Path, default=ROOT / ".kaufmann", help="for ports, data and logs")
    parser.add_argument("--stop", action="store_true", help="end what --keep left running, and nothing else")
    chosen = parser.parse_args()
    directory = chosen.directory.absolute()
    screen = Screen()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with _alone(directory / "demo"):
            return _stop(directory) if chosen.stop else _demo(screen, directory, keep=chosen.keep)
    except (DemoError, KaufmannError) as error:
        screen.say(f"the demo failed: {error}")
        return 1
    except KeyboardInterrupt:
        screen.say("interrupted")
        return 130


@contextlib.contextmanager
def _alone(files: Path) -> Iterator[None]:
    """Hold the demo's lock; raise `DemoError` where another demo of this checkout holds it."""
    files.mkdir(parents=True, exist_ok=True)
    with (files / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(f"another demo runs in {files}") from error
        yield


def _stop(directory: Path) -> int:
    services.stop_earlier(directory / "demo" / KEPT)
    LocalStack(directory).down()
    return 0


def _demo(screen: Screen, directory: Path, *, keep: bool) -> int:
    files = directory / "demo"
    if services.stop_earlier(files / KEPT):
        screen.say("ended the services that an earlier demo had left running")
    with _stack(screen, directory, keep=keep) as settings:
        # The directory is there for who looks for left-over processes.
        env = services.environment({**settings, **FASTER, "DEMO_DIRECTORY": str(directory)})
        create_topic(settings["KAUFMANN_BROKERS"], TOPIC)
        services.run(["kaufmann", "-A", "service", "migrate-schemas"], env)
        screen.say("topic created, schemas registered; starting ingester, worker and Flower (Procfile)")
        screen.say("with " + ", ".join(f"{name}={value}" for name, value in FASTER.items()) + " instead of 5 seconds")
        running = Services(env, log=files / "services.log", leashed=not keep)
        kept = False
        try:
            running.start()
            wrong = _watch(screen, running, settings)
            kept = keep
        finally:
            if not kept:
                running.stop()
    screen.say(f"{wrong} faults" if wrong else "all counts are exactly as they must be")
    if kept:
        running.record().write(files / KEPT)
        _explain(running, directory)
    return 1 if wrong else 0


@contextlib.contextmanager
def _stack(screen: Screen, directory: Path, *, keep: bool) -> Iterator[dict[str, str]]:
    """Run the local stack: for this process' life, with fresh data; or with *keep* the one that stays."""
    if keep:
        yield LocalStack(directory).up(progress=screen.say)
        return
    # Not a temporary directory: after a failure the logs are still there.
    stack = LocalStack(directory / "demo")
    stack.reset()
    try:
        yield stack.up(progress=screen.say, owner_pid=os.getpid())
    finally:
        stack.down()


def _watch(screen: Screen, running: Services, settings: Mapping[str, str]) -> int:
    """Publish the plan, show what comes of it until all is committed, print the summary; return its faults."""
    tally = Tally(settings, TOPIC, GROUP)
    publish = _publisher(settings)
    left, published, flower = plan(), {}, False
    deadline = time.monotonic() + _DEADLINE_S
    while True:
        running.check()
        for one in left[:_CHUNK]:
            published[publish(one)] = one
        left = left[_CHUNK:]
        tally.read(0.1)
        screen.progress(_figures(tally, len(published)))
        if not flower and (flower := running.flower_answers()):
            screen.say(f"Flower: {running.flower_url}")
        if not left and flower and _is_over(tally, published):
            break
        if time.monotonic() > deadline:
            print(running.tail())
            break
    return _summary(screen, settings, tally.start, published)


def _is_over(tally: Tally, published: Mapping[str, Planned]) -> bool:
    """Return whether something came of every event, and all of it is committed."""
    came = sum(tally.outputs.values()) + sum(tally.errors.values())
    return came >= len(published) and tally.committed() == tally.ends()


def _publisher(settings: Mapping[str, str]) -> Callable[[Planned], str]:
    """Return what publishes one event, waits for Kafka's acknowledgement and tells its position."""
    os.environ.update(settings)
    os.environ["KAUFMANN_SCHEMA_PATH"] = str(SERVICE / "schemas")
    sys.path.insert(0, str(SERVICE))
    from service import kaufmann  # type: ignore[import-not-found] # found in the example's directory

    raw = KafkaProducer(bootstrap_servers=settings["KAUFMANN_BROKERS"], acks="all")

    def publish(one: Planned) -> str:
        if one.payload is not None:
            return str(kaufmann.publish(one.name, one.payload))
        sent: Any = raw.send(TOPIC, key=one.name.encode(), value=one.raw).get(timeout=30)
        return f"{TOPIC}:{sent.partition}:{sent.offset}"

    return publish


def _figures(tally: Tally, events: int) -> str:
    """Say what became of the events so far. What they become goes to the same topic, so it is committed as well."""
    handled, failed = sum(tally.outputs.values()), sum(tally.errors.values())
    end, committed = (
        sum(offsets[at] - first for at, first in tally.start.items()) for offsets in (tally.ends(), tally.committed())
    )
    return (
        f"events in {events:3} = handled {handled:3} + failed {failed:2} + to go {events - handled - failed:3}   "
        f"events out {handled + failed:3}   committed {max(0, committed):3} of {end:3} (in and out)"
    )


def _summary(
    screen: Screen, settings: Mapping[str, str], start: Mapping[Any, int], published: Mapping[str, Planned]
) -> int:
    """Count everything once more, from the beginning; print it; return how many counts are wrong."""
    tally = Tally(settings, TOPIC, GROUP, start)
    tally.read_to_end()
    screen.say("counted in Kafka, from the first record of this demo to the end:")
    for name, many in sorted(tally.records.items()):
        kinds: dict[str, int] = {}
        for (_, kind), times in tally.errors.items() if name.startswith(ERROR) else ():
            kinds[kind] = kinds.get(kind, 0) + times
        detail = ", ".join(f"{times} {kind}" for kind, times in sorted(kinds.items()))
        print(f"{'':10}{many:5}  {name}{f'  ({detail})' if detail else ''}")
    committed = tally.committed()
    for partition, end in sorted(tally.ends().items()):
        print(f"{'':10}partition {partition.partition}: committed {committed[partition]} of {end}")
    wrong = faults(published, tally)
    for one in wrong:
        print(f"{'':10}WRONG {one}")
    tally.close()
    return len(wrong)


def _explain(running: Services, directory: Path) -> None:
    print(f"""
The stack, the ingester, the worker and Flower go on running. To use them:

    cd {SERVICE} && . {BIN}/activate
    eval "$(kaufmann local env --directory {directory})"
    kaufmann -A service publish order.placed --payload '{{"order_id": "1", "item": "pear", "quantity": 2}}'
    kaufmann -A service events {TOPIC} --name order.confirmed

To look at them: {running.flower_url} (Flower), {running.log} (what they print), and there

    kaufmann -A service status

To stop them:

    {sys.executable} -m examples.demo --stop --directory {directory}
""")


if __name__ == "__main__":
    sys.exit(main())
