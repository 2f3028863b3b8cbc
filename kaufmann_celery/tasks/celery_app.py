"""The Celery app of a service: what is set on it, and the queues its workers consume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import click
from celery import Celery
from kombu import Queue

from kaufmann_celery.config.addresses import is_cluster
from kaufmann_celery.errors import ConfigError

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.config import Config

#: A service as users hand it over: its `Kaufmann`, or the Celery app that runs it.
ServiceApp: TypeAlias = "Kaufmann | Celery"

#: Attribute of a Celery app by which its service is found.
_ATTRIBUTE = "kaufmann"


def make(kaufmann: Kaufmann) -> Celery:
    """Return a Celery app of the service's own, configured when it is first used."""
    app = Celery(kaufmann.service)

    def settings() -> dict[str, Any]:
        return {
            "broker_url": _checked(kaufmann).redis_url,
            "broker_connection_retry_on_startup": True,
            # A supervisor restarts what ends; a worker does not give up on a broker that is away.
            "broker_connection_max_retries": None,
            # Nor on a Redis that is full, which it calls an error of the channel.
            "broker_channel_error_retry": True,
            "broker_transport_options": {
                "socket_timeout": 30, "socket_connect_timeout": 5, "socket_keepalive": True, "priority_steps": [0],
            },
            "task_default_queue": kaufmann.default_queue,
            # What is asked of the workers, and what they tell, stays in the service, as its tasks do.
            "control_exchange": f"{kaufmann.default_queue}.control",
            "event_exchange": f"{kaufmann.default_queue}.events",
            "task_ignore_result": True,
            "task_create_missing_queues": True,
            "worker_prefetch_multiplier": 1,
            "worker_hijack_root_logger": True,
        }  # fmt: skip

    app.add_defaults(settings)
    app.__dict__["_kaufmann_own"] = True
    return app


class _WrongSettings(ConfigError, click.ClickException):
    """Ends any `celery` command with its message and exit code, for each reads the app's configuration first."""

    exit_code = 2


def _checked(kaufmann: Kaufmann) -> Config:
    try:
        return kaufmann.config
    except ConfigError:
        raise _WrongSettings("\n".join(kaufmann.faults())) from None


def attach(kaufmann: Kaufmann, app: Celery) -> None:
    """Make *kaufmann* the service of *app*."""
    if service_of(app) is not None:
        raise ConfigError("one Celery app runs one Kaufmann; give the second an app of its own")
    app.__dict__[_ATTRIBUTE] = kaufmann


def service_of(app: Celery) -> Kaufmann | None:
    """Return the service of *app*, None where it has none."""
    found: Kaufmann | None = app.__dict__.get(_ATTRIBUTE)
    return found


def kaufmann_of(app: ServiceApp) -> Kaufmann:
    """Return the service that *app* is, or that it runs. Raises `TypeError` where it is neither."""
    from kaufmann_celery.app import Kaufmann

    found = service_of(app) if isinstance(app, Celery) else app
    if not isinstance(found, Kaufmann):
        raise TypeError(f"expected the service's Kaufmann object or its Celery app, got {type(app).__name__}")
    return found


def own_broker(app: Celery) -> str | None:
    """Return the broker that the user gave *app*; None for an app of our own, whose broker follows `redis_url`."""
    if app.__dict__.get("_kaufmann_own"):
        return None
    broker: str | None = app.conf.broker_url or app.conf.broker_write_url
    return broker


def check_broker(app: Celery) -> None:
    """Raise `ConfigError` where Celery cannot have the broker that its app comes by."""
    if is_cluster(app.conf.broker_url):
        raise ConfigError(
            "redis_url: a Redis Cluster holds the ledger only, Celery cannot have one as its broker: "
            "give it another, Kaufmann(..., celery=Celery(..., broker=...))"
        )


def consume_queues(kaufmann: Kaufmann) -> None:
    """Have the worker consume the service's queue and those its handlers name, besides the app's own."""
    names = {kaufmann.default_queue, *(one.options.queue for one in kaufmann.handlers if one.options.queue)}
    for name in sorted(names):
        # Only what is selected is consumed: a queue that was merely added is there for routing.
        kaufmann.celery.amqp.queues.select_add(queue_named(kaufmann.celery, name))


def queue_named(app: Celery, name: str) -> Queue:
    """Return the queue as the app has it, a plain one where it has none of that name."""
    queues = app.amqp.queues
    return queues[name] if name in queues else Queue(name, routing_key=name)


def accept_json(app: Celery) -> None:
    """Have the worker take JSON, in which events travel, where the app takes other content only."""
    accepted = app.conf.accept_content
    if accepted is not None and not {"json", "application/json"} & set(accepted):
        app.conf.accept_content = [*accepted, "json"]
