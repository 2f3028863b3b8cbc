"""What consumes the broker in a worker's main process: Celery's consumer, which here outlives a Redis that restarts."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

from celery import Celery
from celery.utils import threads
from celery.worker.consumer import Consumer
from kombu.transport import virtual

from kaufmann_celery.tasks.event_task import EventTask
from kaufmann_celery.tasks.redis_delivery import take_lightly

_CELERYS = "celery.worker.consumer:Consumer"
#: Seconds that closing waits for a Redis that does not answer, as Celery does.
_CLOSE_S = 5.0
#: Most seconds between attempts to connect, where they go on for ever; Celery's own grow to 30.
_CONNECT_MOST_S = 5.0


class SteadyConsumer(Consumer):
    """Celery's consumer of a worker. Chosen by Celery's setting `worker_consumer`."""

    def on_connection_error_after_connected(self, exc: Any) -> None:
        """Let the lost connection go.

        Celery 5.7 closes it twice. Where a BRPOP is under way kombu's first close ends there; the second puts
        unacknowledged messages back, by a transport that is gone by then: an AttributeError, and the worker exits.
        """
        _close_channels(self.connection)
        super().on_connection_error_after_connected(exc)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect; a broker that comes back after a long time is noticed soon."""
        if self.app.conf.broker_connection_max_retries is None:
            conn.ensure_connection = partial(conn.ensure_connection, interval_max=_CONNECT_MOST_S)
        connection = super().ensure_connected(conn)
        take_lightly(connection, lambda name: isinstance(self.app.tasks.get(name), EventTask))
        return connection


def use_steady_consumer(app: Celery) -> None:
    """Have the worker of *app* outlive its broker, unless the app brings a consumer of its own."""
    if app.conf.worker_consumer == _CELERYS:
        app.conf.worker_consumer = f"{__name__}:{SteadyConsumer.__name__}"


def _close_channels(connection: Any) -> None:
    """Close what kombu emulates on Redis, for good, while there is still a transport to do it by. AMQP has none."""
    errors = (*connection.connection_errors, *connection.channel_errors)
    channels = [
        one for one in getattr(connection.transport, "channels", None) or () if isinstance(one, virtual.Channel)
    ]
    # Celery has it since the version that needs it.
    getattr(threads, "bound_open_broker_sockets", lambda *_: None)(connection, _CLOSE_S)
    for channel in channels:
        # The first attempt ends at a BRPOP under way, the second where Redis is away; the third needs no Redis.
        for close in (channel.close, channel.close, partial(virtual.Channel.close, channel)):
            with suppress(*errors):
                close()
