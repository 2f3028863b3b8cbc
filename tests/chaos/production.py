"""The events of a run: what each asks for is drawn from the seed, keys are skewed, and a thread writes them in time."""

from __future__ import annotations

import itertools
import random
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import fastavro
from kafka import KafkaProducer

#: How many of a thousand events are of each kind. `broken` cannot be decoded, `unwanted` has no handler.
SHARES = {
    "plain": 795, "silent": 60, "pair": 50, "flaky": 40, "failing": 20, "exhausted": 10, "unwanted": 15, "broken": 10,
}  # fmt: skip
#: One event in so many kills the process that runs it.
DEADLY_EVERY = 4000
KEYS = 2000
SCHEMA = {
    "type": "record",
    "name": "Work",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "work_ms", "type": "int"},
        {"name": "failures", "type": "int"},
    ],
}
SUBJECTS = tuple(f"chaos.{kind}" for kind in ("done", "deadly", *SHARES))
_PARSED = fastavro.parse_schema(SCHEMA)
_UNREADABLE = b"\xff" * 12
#: Events per second: what is missing once the last fault has ended, and what comes beyond those that were asked for
#: while the faults take longer than they should.
_REST_PER_S, _MORE_PER_S = 400.0, 20.0


@dataclass(frozen=True, slots=True)
class Order:
    """One event to be written."""

    kind: str
    key: str
    partition: int
    value: bytes

    @property
    def record_key(self) -> bytes:
        """The event's name and key."""
        return f"chaos.{'plain' if self.kind == 'broken' else self.kind}#{self.key}".encode()


def orders(seed: int, partitions: int) -> Iterator[Order]:
    """Yield events without end. Keys follow Zipf's law; each has its partition."""
    rng = random.Random(f"events {seed}")
    keys = [f"key-{rank}" for rank in range(KEYS)]
    skewed = list(itertools.accumulate(1 / (rank + 1) ** 0.9 for rank in range(KEYS)))
    kinds, shares = list(SHARES), list(itertools.accumulate(SHARES.values()))
    for number in itertools.count(1):
        kind = "deadly" if number % DEADLY_EVERY == 0 else rng.choices(kinds, cum_weights=shares)[0]
        key = rng.choices(keys, cum_weights=skewed)[0]
        work_ms = rng.randint(100, 400) if rng.random() < 0.03 else rng.randint(0, 5)
        payload = {"id": f"event-{number}", "work_ms": work_ms, "failures": rng.randint(1, 2)}
        value = _UNREADABLE if kind == "broken" else _avro(payload)
        yield Order(kind, key, zlib.crc32(key.encode()) % partitions, value)


def _avro(payload: dict[str, Any]) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, _PARSED, payload)
    return out.getvalue()


class Production:
    """Writes events at a steady rate until told that enough has happened, and at least so many."""

    def __init__(self, brokers: str, topic: str, *, seed: int, partitions: int, events: int, per_s: float) -> None:
        self._brokers, self._topic = brokers, topic
        self._orders = orders(seed, partitions)
        self._least, self._per_s = events, per_s
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="production", daemon=True)
        self.written = 0

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread.start()

    def finish(self, timeout_s: float) -> None:
        """Write what is missing, and wait until Kafka has it."""
        self._enough.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"the events were not written within {timeout_s:.0f} s")

    def _run(self) -> None:
        producer: Any = KafkaProducer(bootstrap_servers=self._brokers, linger_ms=5, allow_auto_create_topics=False)
        started, tick = time.monotonic(), threading.Event()
        while not self._enough.is_set():
            spent_s = time.monotonic() - started
            more_s = max(0.0, spent_s - self._least / self._per_s)
            self._write_up_to(producer, min(self._least, spent_s * self._per_s) + more_s * _MORE_PER_S)
            tick.wait(0.02)
        started, before = time.monotonic(), self.written
        while self.written < self._least:
            rest = before + (time.monotonic() - started) * max(_REST_PER_S, self._per_s)
            self._write_up_to(producer, min(self._least, rest))
            tick.wait(0.02)
        producer.flush(timeout=120)
        producer.close()

    def _write_up_to(self, producer: Any, count: float) -> None:
        while self.written < count:
            order = next(self._orders)
            headers = [("chaos-kind", order.kind.encode())]
            producer.send(self._topic, order.value, key=order.record_key, headers=headers, partition=order.partition)
            self.written += 1
