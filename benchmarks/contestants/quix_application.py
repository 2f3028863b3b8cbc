"""quixstreams: an application with one dataframe that runs the handler for each event, at-least-once as it comes.

What it guarantees: a checkpoint (every 5 s, and at its end) commits what was handled before it. What not: an event that
fails ends it, unless a callback says that it is to be passed over.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from quixstreams import Application
from quixstreams.models.serializers.avro import AvroDeserializer

from benchmarks.handling import handle
from benchmarks.traffic import SCHEMA


def work(event: dict[str, Any]) -> None:
    """Handle one event."""
    handle(event["order_id"])


def main() -> None:
    """Process until SIGTERM."""
    topic = os.environ["BENCH_TOPIC"]
    with tempfile.TemporaryDirectory() as state:
        app = Application(
            os.environ["KAUFMANN_BROKERS"],
            consumer_group=topic,
            auto_offset_reset="earliest",
            auto_create_topics=False,
            state_dir=state,
            loglevel="WARNING",
        )
        app.dataframe(app.topic(topic, value_deserializer=AvroDeserializer(SCHEMA))).update(work)
        app.run()
