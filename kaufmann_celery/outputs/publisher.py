"""Publishing outside handlers: at once, and waiting for Kafka's acknowledgement."""

from __future__ import annotations

import atexit
import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kaufmann_celery.errors import (
    EncodeError,
    EventError,
    EventTooLarge,
    PublishError,
    RefusedForGood,
    UnavailableError,
)
from kaufmann_celery.event import Output, Position
from kaufmann_celery.middleware import Hooks
from kaufmann_celery.outputs.composing import Composer, utc_now
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.outputs.producing import Answer, records_out
from kaufmann_celery.registry.client import RegisteredSchema, SchemaNotFound
from kaufmann_celery.transcoders.configured import Transcoders

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.config import Config


#: kafka-python's own are 30: whoever publishes may hold up a web request.
_CONNECT_TIMEOUT_S = 10.0


class Publisher:
    """Publishes outputs of a service. Thread-safe, and a fork may use it: each process has its own connections.

    *connect_timeout* is how long a connection to Kafka may take, in seconds, where `kafka_options` does not say it.
    """

    def __init__(self, kaufmann: Kaufmann, *, connect_timeout: float = _CONNECT_TIMEOUT_S) -> None:
        self._config = _with_timeout(kaufmann.config, connect_timeout)
        self._hooks = Hooks(kaufmann.middleware, "publish")
        # One entry for each process of a fork: a parent's connections are kept and never touched by its child.
        self._by_pid: dict[int, _Connections] = {}
        self._locks: dict[int, threading.Lock] = {}
        atexit.register(self.close)

    def publish(self, output: Output) -> Position | None:
        """Send *output*, wait for Kafka's acknowledgement, and return the position of its first record.

        None where a `producer_mod` knows no position.

        Blocks: for 10 s where Kafka cannot be reached, for about 30 s where it does not answer. Raises `EncodeError`
        where *output* does not fit its schema or has none, and `PublishError` where Kafka refuses it or Kafka or the
        registry does not answer; it may then be there or not.
        """
        return self.publish_composed([self.compose(output)])[0]

    def compose(self, output: Output) -> list[OutRecord]:
        """Return the records of *output*, encoded. Blocks on the schema registry; raises as `publish` does."""
        with translated(output.name):
            return self._connections.composer.compose(
                output, message_id=str(uuid.uuid4()), now=utc_now(), emitter=False
            )

    def publish_composed(self, outputs: Sequence[Sequence[OutRecord]]) -> list[Position | None]:
        """Send what `compose` gave, all before waiting; return each one's first position, None where it has none.

        Raises `Refused`, which says what was published nevertheless, and `PublishError` where Kafka did not answer.
        """
        records = [record for output in outputs for record in output]
        try:
            answers = self._hooks.around(records, lambda: self._connections.out.publish(records))
        except UnavailableError as error:
            raise PublishError(f"not acknowledged: {error}") from error
        positions, refusals = _by_output(outputs, answers)
        if refusals:
            raise Refused(positions, refusals)
        return positions

    def avro_schema_of(self, output: Output) -> tuple[RegisteredSchema, list[Any]] | None:
        """Return the schema by which *output* is written, and those it refers to; None where it is not in Avro.

        Raises as `publish`.
        """
        transcoders = self._connections.transcoders
        with translated(output.name):
            topic = self._connections.composer.topics(output)[0]
            avro = transcoders.avro
            if avro is None or transcoders.writer(output.name, topic, output.format) is not avro:
                return None
            latest = avro.latest(output.name, topic)
            if latest is None:
                raise SchemaNotFound(
                    f"{output.name} has no schema: the registry has no subject for it; put its .avsc file into "
                    "schema_path and run `kaufmann migrate-schemas`"
                )
            return latest, avro.references_of(latest)

    def close(self) -> None:
        """Close this process' connections; the next call makes new ones."""
        connections = self._by_pid.pop(os.getpid(), None)
        if connections is not None:
            connections.out.close()

    @property
    def _connections(self) -> _Connections:
        pid = os.getpid()
        found = self._by_pid.get(pid)
        if found is not None:
            return found
        # A lock of this process, for a fork could find another held.
        with self._locks.setdefault(pid, threading.Lock()):
            if pid not in self._by_pid:
                self._by_pid[pid] = _Connections(self._config)
            return self._by_pid[pid]


class Refused(RefusedForGood):
    """Kafka refused some of several outputs, for good."""

    def __init__(self, positions: Sequence[Position | None], refusals: dict[int, RefusedForGood]) -> None:
        first = next(iter(refusals.values()))
        super().__init__(str(first), too_large=first.too_large)
        #: For each output its first position, None where it was refused or has none.
        self.positions = positions
        #: Why, by the output's index.
        self.refusals = refusals


class _Connections:
    """What one process publishes with. Nothing connects before its first use."""

    def __init__(self, config: Config) -> None:
        self.transcoders = Transcoders(config)
        self.composer = Composer(config, self.transcoders)
        self.out = records_out(config)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Raise what is wrong with an output of *name*, or keeps it from being composed, as a `PublishError`."""
    try:
        yield
    except SchemaNotFound as error:
        raise EncodeError(str(error)) from error
    except EventTooLarge as error:
        raise RefusedForGood(str(error), too_large=True) from error
    except EncodeError:
        raise
    except EventError as error:
        raise EncodeError(f"{name}: {error}") from error
    except UnavailableError as error:
        raise PublishError(f"not published: {error}") from error


def _by_output(
    outputs: Sequence[Sequence[OutRecord]], answers: Sequence[Answer]
) -> tuple[list[Position | None], dict[int, RefusedForGood]]:
    remaining = iter(answers)
    positions: list[Position | None] = []
    refusals: dict[int, RefusedForGood] = {}
    for index, output in enumerate(outputs):
        own = [next(remaining) for _ in output]
        refused = [answer for answer in own if isinstance(answer, RefusedForGood)]
        if refused:
            refusals[index] = refused[0]
        positions.append(next((answer for answer in own if isinstance(answer, Position)), None))
    return positions, refusals


def _with_timeout(config: Config, connect_timeout: float) -> Config:
    if "bootstrap_timeout_ms" in config.kafka_options:
        return config
    options = {**config.kafka_options, "bootstrap_timeout_ms": int(connect_timeout * 1000)}
    return replace(config, kafka_options=MappingProxyType(options))
