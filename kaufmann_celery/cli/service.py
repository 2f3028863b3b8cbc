"""The service that a command is about: found by `-A`, as Celery finds its app."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaufmann_celery.outage import Outage
from kaufmann_celery.plugged import IMPORT_FAULTS, told

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

#: Seconds in which a service must answer a one-shot command.
CONNECT_TIMEOUT_S = 8.0

NO_HANDLERS = "no handlers: register one with @kaufmann.on, or list its module in Celery's imports"

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def service(ctx: click.Context) -> Kaufmann:
    """Import the app that `-A` names and return its `Kaufmann`. Raises click's `UsageError`."""
    app = _app(ctx)
    from kaufmann_celery.tasks.celery_app import kaufmann_of

    try:
        return kaufmann_of(app)
    except TypeError:
        raise click.UsageError(
            "this Celery app has no Kaufmann service. In the module that -A names, write: "
            'kaufmann = Kaufmann("orders"); celery = kaufmann.celery',
            ctx,
        ) from None


def load(kaufmann: Kaufmann) -> None:
    """Import the service's handlers and check all. Raises `ConfigError` with every fault."""
    kaufmann.load()


#: What kafka-python says of its retries, twice and thrice over. What comes of them our own log says.
_KAFKA_CHATTER = ("kafka.cluster", "kafka.coordinator", "kafka.net.manager", "kafka.net.transport")
#: The reason why a broker cannot be reached.
_KAFKA_REASONS = ("kafka.net.connection", "kafka.net.inet")


def log_to_stderr(level: str | int, *, kafka: int = logging.WARNING) -> None:
    """Write log lines of *level* and above to stderr; of kafka-python's, those of level *kafka*.

    Of what kafka-python says of a broker that is away only the reason is kept, less and less often; DEBUG shows all.
    """
    logging.basicConfig(level=level, format=_FORMAT, stream=sys.stderr)
    logging.getLogger("kafka").setLevel(kafka)
    if not logging.getLogger().isEnabledFor(logging.DEBUG):
        for name in _KAFKA_CHATTER:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # It warns of each step that took 0.1 s, which a busy machine is enough for.
        logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
        for name in _KAFKA_REASONS:
            logging.getLogger(name).addFilter(_NewsOnly())


class _NewsOnly(logging.Filter):
    """Lets a line through at once, then less and less often."""

    def __init__(self) -> None:
        super().__init__()
        self._outage = Outage()

    def filter(self, record: logging.LogRecord) -> bool:
        return self._outage.is_news(record.getMessage(), time.monotonic())


def _app(ctx: click.Context) -> Any:
    given = ctx.find_root().obj
    if given is not None and not isinstance(given, str):
        return given.app  # Celery's own context
    if not given:
        raise click.UsageError("which service? Give -A module, or set APP", ctx)
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return _found(given, ctx)


def _found(name: str, ctx: click.Context) -> Any:
    from celery.app.utils import find_app

    try:
        return find_app(name)
    except IMPORT_FAULTS as error:
        hint = ". Write there: celery = kaufmann.celery" if "no attribute 'celery'" in str(error) else ""
        raise click.UsageError(f"cannot load -A {name}: {told(error)}{hint}", ctx) from error
