"""The command `ingester`: consume Kafka until told to stop."""

from __future__ import annotations

import gc
import logging
import os
import signal
import threading
from queue import SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

import click

from kaufmann_celery.cli.failures import FAILED
from kaufmann_celery.cli.service import NO_HANDLERS, load, log_to_stderr, service
from kaufmann_celery.errors import ConfigError

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.ingester import Ingester

log = logging.getLogger(__name__)

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@click.command()
@click.option("--topics", metavar="T,…", help="Consume these instead of subscription_topics.")
@click.option("--group", metavar="G", help="Consumer group, instead of consumer_group.")
@click.option("--until-end", is_flag=True, help="Stop when all that is in the topics now is settled and committed.")
@click.option(
    "--loglevel", "-l", default="INFO", show_default=True, type=click.Choice(_LEVELS, case_sensitive=False),
    help="Log lines of this level and above, on stderr.",
)  # fmt: skip
@click.pass_context
def ingester(ctx: click.Context, topics: str | None, group: str | None, until_end: bool, loglevel: str) -> None:  # noqa: FBT001 - click calls it by name
    """Consume Kafka, hand events to the workers, publish what they emit, commit.

    SIGTERM or SIGINT: settle what is finished, commit, leave the group, exit 0. A second SIGINT: at once, exit 1.
    """
    log_to_stderr(loglevel.upper())
    signals = StopSignals()
    kaufmann = service(ctx)
    _set(kaufmann, subscription_topics=topics, consumer_group=group)
    load(kaufmann)
    if not kaufmann.handlers:
        raise ConfigError(f"{NO_HANDLERS}; all events would be committed as ones that nobody wants")
    running = kaufmann.ingester(until_end=until_end)
    signals.stop_by(running)
    collect_garbage_seldom()
    running.run()
    if not running.is_over:
        # What is left waits for a service that is away, and must not hold up the end.
        logging.shutdown()
        os._exit(0)


def collect_garbage_seldom() -> None:
    """Have Python look for cycles every 20,000 objects, not 700, and not in what is there by now.

    An event leaves none behind, and what is there lives as long as the process.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


class StopSignals:
    """Turns SIGTERM and SIGINT into a stop, from now on; those that come before `stop_by` are kept."""

    def __init__(self) -> None:
        # Safe in a signal handler, which an Event or a Lock that the interrupted code holds is not.
        self._came: SimpleQueue[int] = SimpleQueue()
        self._interrupted = False
        signal.signal(signal.SIGTERM, self._hear)
        signal.signal(signal.SIGINT, self._hear)

    def stop_by(self, running: Ingester) -> None:
        """Call `running.stop()` for each signal, in a thread."""

        def listen() -> None:
            while True:
                name = signal.Signals(self._came.get()).name
                log.info("%s: stopping", name, extra={"action": "stop_signal"})
                running.stop()

        threading.Thread(target=listen, name="kaufmann-signals", daemon=True).start()

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._interrupted:
            os._exit(FAILED)
        self._interrupted = self._interrupted or number == signal.SIGINT
        self._came.put(number)


def _set(kaufmann: Kaufmann, **settings: str | None) -> None:
    """Give settings as keywords, so that they win and are checked with the others."""
    given = {name: value for name, value in settings.items() if value is not None}
    if given:
        kaufmann.settings.update(given)
        # The service's module may have read them before.
        kaufmann.__dict__.pop("config", None)
