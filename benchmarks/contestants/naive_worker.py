"""The Celery side of the naive bridge.

An output is handed to kafka-python's producer, which sends those of some milliseconds together, `acks=all`; a task does
not wait for Kafka's answer, as that would cost it several milliseconds, and what is not sent yet when the process ends
is flushed then. So an output is lost where its process is killed, or where Kafka refuses it: nobody looks.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from celery import Celery
from celery.signals import worker_process_shutdown
from kafka import KafkaProducer

from benchmarks.handling import handle
from benchmarks.processes import say_when_ready
from benchmarks.traffic import ANSWER, encoded

app = Celery("naive", broker=os.environ.get("KAUFMANN_REDIS_URL"))
app.conf.update(task_default_queue=os.environ.get("BENCH_TOPIC", "naive"), task_ignore_result=True)
ANSWERS_TO = os.environ.get("BENCH_ANSWERS_TO")

say_when_ready()


@app.task
def work(event: dict[str, Any]) -> None:
    """Handle an event, and answer it."""
    handle(event["order_id"])
    if ANSWERS_TO:
        _producer().send(ANSWERS_TO, key=ANSWER.encode(), value=encoded(event))


@cache
def _producer() -> Any:
    producer = KafkaProducer(bootstrap_servers=os.environ["KAUFMANN_BROKERS"], acks="all", linger_ms=5)
    worker_process_shutdown.connect(lambda **_: producer.flush(), weak=False)
    return producer
