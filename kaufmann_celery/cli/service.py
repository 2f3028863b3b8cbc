"""The service that a command is about: found by `-A`, as Celery finds its app."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

#: Seconds in which a service must answer a one-shot command.
CONNECT_TIMEOUT_S = 8.0

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def service(ctx: click.Context) -> Kaufmann:
    """Import the app that `-A` names and return its `Kaufmann`. Raises click's `UsageError`."""
    app = _app(ctx)
    from kaufmann_celery.celery_app import service_of

    found = service_of(app) if hasattr(app, "__dict__") else None
    if found is None:
        raise click.UsageError(
            "this Celery app has no Kaufmann service. In the module that -A names, write: "
            'kaufmann = Kaufmann("orders"); celery = kaufmann.celery',
            ctx,
        )
    return found


def log_to_stderr(level: str | int, *, kafka: int = logging.WARNING) -> None:
    """Write log lines of *level* and above to stderr; of kafka-python's, those of level *kafka*."""
    logging.basicConfig(level=level, format=_FORMAT, stream=sys.stderr)
    logging.getLogger("kafka").setLevel(kafka)


def _app(ctx: click.Context) -> Any:
    given = ctx.find_root().obj
    if given is not None and not isinstance(given, str):
        return given.app  # Celery's own context
    if not given:
        raise click.UsageError("which service? Give -A module, or set APP", ctx)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return _found(given, ctx)


def _found(name: str, ctx: click.Context) -> Any:
    from celery.app.utils import find_app

    try:
        return find_app(name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise click.UsageError(f"cannot load -A {name}: {error}{_where(error)}", ctx) from error


def _where(error: BaseException) -> str:
    """Return the line of the user's own code that raised, ` (service.py:12)`."""
    import celery

    ours = (os.path.dirname(celery.__file__), os.path.dirname(os.path.dirname(__file__)), "<frozen")
    spec = find_spec("kombu")
    foreign = (*ours, os.path.dirname(spec.origin)) if spec and spec.origin else ours
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(foreign) and "importlib" not in frame.filename]
    return f" ({os.path.relpath(own[-1].filename)}:{own[-1].lineno})" if own else ""
