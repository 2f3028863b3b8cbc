"""sentry-arroyo: a stream processor whose one step runs the handler, then commits by its policy, once a second.

What it guarantees: offsets are committed in order, behind what is handled. What not: an event that fails ends it,
unless it says that the event is invalid, and there is a place for those.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

from arroyo.backends.kafka import KafkaConsumer, KafkaPayload
from arroyo.backends.kafka.configuration import build_kafka_consumer_configuration
from arroyo.commit import ONCE_PER_SECOND
from arroyo.processing import StreamProcessor
from arroyo.processing.strategies import CommitOffsets, RunTask, RunTaskInThreads
from arroyo.processing.strategies.abstract import ProcessingStrategyFactory
from arroyo.types import Commit, Message, Partition, Topic

from benchmarks.handling import handle
from benchmarks.traffic import decoded

TOPIC, THREADS = os.environ["BENCH_TOPIC"], int(os.environ["BENCH_THREADS"])
_MOST_PENDING = 1_000


def work(message: Message[KafkaPayload]) -> None:
    """Decode and handle one event."""
    handle(decoded(message.payload.value)["order_id"])


class Work(ProcessingStrategyFactory[KafkaPayload]):
    """What arroyo asks for the steps when it has been given partitions."""

    def create_with_partitions(self, commit: Commit, partitions: Mapping[Partition, int]) -> Any:  # noqa: ARG002
        """Return the steps."""
        then = CommitOffsets(commit)
        return RunTaskInThreads(work, THREADS, _MOST_PENDING, then) if THREADS > 1 else RunTask(work, then)


def main() -> None:
    """Process until SIGTERM."""
    settings = build_kafka_consumer_configuration(
        {}, bootstrap_servers=[os.environ["KAUFMANN_BROKERS"]], group_id=TOPIC, auto_offset_reset="earliest"
    )
    processor = StreamProcessor(KafkaConsumer(settings), Topic(TOPIC), Work(), ONCE_PER_SECOND)
    signal.signal(signal.SIGTERM, lambda *_: processor.signal_shutdown())
    processor.run()
