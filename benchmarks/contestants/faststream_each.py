"""faststream: an event at a time, acknowledged when it is handled; `max_workers` consumers in one event loop.

What it guarantees: an event is committed after it was handled, also where it failed; what failed is a line in its log.
(As it comes, `AckPolicy.ACK_FIRST`, it commits every so often what it has taken, handled or not.)
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

from faststream import FastStream
from faststream.kafka import KafkaBroker
from faststream.middlewares import AckPolicy

from benchmarks.handling import handle
from benchmarks.traffic import decoded

TOPIC, THREADS = os.environ["BENCH_TOPIC"], int(os.environ["BENCH_THREADS"])


async def decode(message: Any) -> dict[str, Any]:
    """Decode what was read; were it not `async`, faststream would do it in a thread."""
    return decoded(message.body)


broker = KafkaBroker(os.environ["KAUFMANN_BROKERS"], apply_types=False, logger=None)
subscriber = broker.subscriber(
    TOPIC,
    group_id=TOPIC,
    auto_offset_reset="earliest",
    isolation_level="read_committed",
    ack_policy=AckPolicy.ACK,
    max_workers=THREADS,
    decoder=decode,
)


async def computes(event: dict[str, Any]) -> None:
    """Handle an event in the event loop."""
    handle(event["order_id"])


def waits(event: dict[str, Any]) -> None:
    """Handle an event in a thread, where faststream runs what is not `async`."""
    handle(event["order_id"])


subscriber(waits if THREADS > 1 else computes)


def main() -> None:
    """Process until SIGTERM."""
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(FastStream(broker, logger=None).run())
