"""kafka-python's producers: made, lent, sent by and closed in the same way, in transactions or not."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from kafka import KafkaProducer
from kafka import errors as kafka_errors

from kaufmann_celery.config import Config
from kaufmann_celery.errors import ConfigError, UnavailableError
from kaufmann_celery.kafka_io import clients
from kaufmann_celery.kafka_io.options import producer_options
from kaufmann_celery.outputs.outcome import OutRecord

#: Seconds that a producer has to hear of a partition that is there.
_HEAR_S = 5.0
#: Calls that publish at the same time; each needs a connection and two threads.
_MOST_LENT = 8

_made: WeakSet[Any] = WeakSet()


def connected(options: Mapping[str, Any]) -> Any:
    """Make a producer. Blocks; raises kafka-python's errors, and `ConfigError` for options that it does not take."""
    try:
        producer = clients.connected(KafkaProducer, options)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"kafka_options: {error}") from error
    _made.add(producer)
    return producer


def send(producer: Any, record: OutRecord, partition: int) -> Any:
    """Hand *record* to *producer* and return what kafka-python does. Raises its errors."""
    deadline = time.monotonic() + _HEAR_S
    while True:
        try:
            return producer.send(
                record.topic,
                key=record.key,
                value=record.value,
                headers=list(record.headers),
                partition=partition,
                timestamp_ms=record.timestamp_ms or None,
            )
        except ValueError as error:
            # The topic got the partition after the producer last asked for its topics, which it does every 15 s.
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not _asks_again(producer, left_s):
                raise kafka_errors.KafkaTimeoutError(str(error)) from error


def close(producer: Any, timeout_s: float = 0.0) -> None:
    """Flush and close; what is not sent within *timeout_s* never is."""
    try:
        producer.close(timeout=timeout_s)
    except kafka_errors.KafkaError:
        # Then close() stops half-way, and its thread would go on sending.
        producer._sender.force_close()


class Producer:
    """One producer at a time, made at its first use; another where it was dropped. Used by one thread at a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client: Any = None
        #: How many were dropped: what an earlier one was handed is not on its way any more.
        self.dropped = 0

    def client(self) -> Any:
        """Return kafka-python's producer. Blocks and raises as `connected` does."""
        if self._client is None:
            self._client = connected(producer_options(self._config))
        return self._client

    def drop(self, timeout_s: float = 0.0) -> None:
        """Drop it: what Kafka has not got after *timeout_s* is not sent any more, or was sent already."""
        client, self._client = self._client, None
        if client is not None:
            self.dropped += 1
            close(client, timeout_s)


class Producers:
    """As many as are used at the same time, each lent to one call: kafka-python answers all alike. Thread-safe.

    What Kafka refuses one record, it refuses all that share the producer. *wait_s*: how long a call may wait for its
    turn.
    """

    def __init__(self, config: Config, *, wait_s: float) -> None:
        self._config = config
        self._wait_s = wait_s
        self._turns = threading.Semaphore(_MOST_LENT)
        self._idle: deque[Producer] = deque()

    @contextmanager
    def lent(self) -> Iterator[Producer]:
        """Lend one for the length of the block. Raises `UnavailableError` where too many are lent for too long."""
        if not self._turns.acquire(timeout=self._wait_s):
            raise UnavailableError(f"{_MOST_LENT} others publish, and Kafka answers none of them; check brokers")
        one = self._idle.pop() if self._idle else Producer(self._config)
        try:
            yield one
        finally:
            self._idle.append(one)
            self._turns.release()

    def close(self, timeout_s: float) -> None:
        """Flush and close those that nobody uses; wait at most *timeout_s* for each."""
        while self._idle:
            self._idle.pop().drop(timeout_s)


def _asks_again(producer: Any, timeout_s: float) -> bool:
    """Have *producer* ask Kafka for its topics now; return whether that was answered."""
    answered = threading.Event()
    producer._metadata.request_update().add_both(lambda _: answered.set())
    producer._sender.wakeup()
    return answered.wait(timeout_s)


def _forget_made() -> None:
    """Have a child leave its parent's producers alone: at its end each would wait for a thread that it has not."""
    for producer in _made:
        producer._unregister_cleanup()
        producer._closed = True
    _made.clear()


os.register_at_fork(after_in_child=_forget_made)
