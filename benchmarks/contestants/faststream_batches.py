"""faststream: what one fetch brought at a time, acknowledged when all of it is handled; by threads where that waits.

What it guarantees: as one by one, but a batch with one failed event is one failed batch, and committed.
"""

from __future__ import annotations

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from faststream import FastStream
from faststream.kafka import KafkaBroker
from faststream.middlewares import AckPolicy

from benchmarks.handling import handle
from benchmarks.traffic import decoded

TOPIC, THREADS = os.environ["BENCH_TOPIC"], int(os.environ["BENCH_THREADS"])
_MOST_RECORDS = 500


async def decode(message: Any) -> list[dict[str, Any]]:
    """Decode what was read; were it not `async`, faststream would do it in a thread."""
    return [decoded(value) for value in message.body]


broker = KafkaBroker(os.environ["KAUFMANN_BROKERS"], apply_types=False, logger=None)
threads = ThreadPoolExecutor(THREADS)


@broker.subscriber(
    TOPIC,
    group_id=TOPIC,
    auto_offset_reset="earliest",
    isolation_level="read_committed",
    ack_policy=AckPolicy.ACK,
    batch=True,
    max_records=_MOST_RECORDS,
    decoder=decode,
)
async def work(events: list[dict[str, Any]]) -> None:
    """Handle a batch."""
    if THREADS == 1:
        for event in events:
            handle(event["order_id"])
    else:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, handle, event["order_id"]) for event in events))


def main() -> None:
    """Process until SIGTERM."""
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(FastStream(broker, logger=None).run())
