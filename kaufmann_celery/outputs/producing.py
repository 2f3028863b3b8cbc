"""What publishes: Kafka, or what the setting `producer_mod` names in its place."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from kaufmann_celery.errors import ConfigError, EventError, PublishError, RefusedForGood, UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.plugged import called, imported

if TYPE_CHECKING:
    from kaufmann_celery.config import Config
    from kaufmann_celery.outputs.outcome import OutRecord

#: What became of one record: where it is, None where that is not known, or why it is refused for good.
Answer = Position | RefusedForGood | None


class Producer(Protocol):
    """What `producer_mod` makes, one in each process that publishes: the ingester, and those that call `publish`."""

    def publish(self, records: Sequence[OutRecord]) -> Sequence[Position | PublishError | None] | None:
        """Publish *records* in their order; return once they are safe: their events are finished then.

        Return what became of each: its position, None where it has none, or a `PublishError` where it can never be
        published, which fails its event. None for all: published. Whatever this raises, nothing counts as published,
        and the same records come again. The ingester's loop waits for it; `kaufmann.publish` calls it in any thread.
        """


class PublishNothing:
    """A `producer_mod` that publishes nothing: handlers run, and what they emit is dropped."""

    def __init__(self, config: Config) -> None:
        del config

    def publish(self, records: Sequence[OutRecord]) -> None:
        """Drop *records*."""


class RecordsOut(Protocol):
    """What the rest of the library publishes by. Thread-safe."""

    def publish(self, records: Sequence[OutRecord]) -> Sequence[Answer]:
        """Publish, wait, and return what became of each. Raises `UnavailableError`: any may be there or not."""

    def refusal(self, record: OutRecord) -> RefusedForGood | None:
        """Return why *record* would never be published, as far as can be known without trying."""

    def close(self, timeout_s: float = 5.0) -> None:
        """Flush and close; wait at most *timeout_s*."""


def records_out(config: Config) -> RecordsOut:
    """Return what the settings ask for. Connects at first use. Raises `ConfigError`."""
    if config.producer_mod is not None:
        return _Plugged(_made(config.producer_mod, config))
    from kaufmann_celery.kafka_io.kafka_out import KafkaOut

    return KafkaOut(config)


def check_producer(config: Config) -> None:
    """Raise `ConfigError` where `producer_mod` names nothing that can publish."""
    if config.producer_mod is None:
        return
    found = imported(config.producer_mod, "producer_mod")
    is_function = callable(found) and not inspect.isclass(found)
    if not is_function and not callable(getattr(found, "publish", None)):
        raise ConfigError(f"producer_mod: {config.producer_mod} has no publish(records)")


def _made(path: str, config: Config) -> Any:
    """Return a module or an object as it is, and what a class or a function makes of the settings."""
    found = imported(path, "producer_mod")
    if callable(found):
        try:
            found = called(path, found, config)
        except EventError as error:
            raise ConfigError(f"producer_mod: {error}") from error
    if not callable(getattr(found, "publish", None)):
        raise ConfigError(f"producer_mod: {path} has no publish(records)")
    return found


class _Plugged:
    """Holds what is not ours to the protocol: what it does not say that it has published is given to it again."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer

    def publish(self, records: Sequence[OutRecord]) -> Sequence[Answer]:
        try:
            answers = called("producer_mod", self._producer.publish, records)
        except EventError as failed:
            raise UnavailableError(f"{failed}; what it was given is given to it again") from failed.__cause__
        if answers is None:
            return [None] * len(records)
        if not isinstance(answers, (list, tuple)) or len(answers) != len(records):
            raise UnavailableError(
                f"producer_mod returned {type(answers).__name__}, expected None or an answer for each of its records"
            )
        return [_answer(one) for one in answers]

    def refusal(self, record: OutRecord) -> RefusedForGood | None:  # noqa: ARG002 - as RecordsOut has it
        return None

    def close(self, timeout_s: float = 5.0) -> None:  # noqa: ARG002 - as RecordsOut has it
        close = getattr(self._producer, "close", None)
        if callable(close):
            with suppress(EventError):
                called("producer_mod", close)


def _answer(given: Any) -> Answer:
    if given is None or isinstance(given, (Position, RefusedForGood)):
        return given
    if isinstance(given, PublishError):
        return RefusedForGood(str(given))
    raise UnavailableError(f"producer_mod answered {type(given).__name__}, expected Position, PublishError or None")
