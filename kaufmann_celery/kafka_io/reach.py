"""Whether Kafka, and the topics to read, are there: what a user must know and kafka-python does not raise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from kafka.errors import KafkaError

from kaufmann_celery.kafka_io.faults import passes
from kaufmann_celery.outage import Outage

log = logging.getLogger(__name__)

#: Seconds without the group's coordinator that are no outage: it moves from broker to broker.
_MOVING_S = 3.0


def look_for(consumer: Any, topics: Iterable[str]) -> None:
    """Have *consumer* learn of the topics' partitions: with them known, the first join is not followed by another."""
    for topic in topics:
        if not consumer.partitions_for_topic(topic):
            log.warning(
                "topic %s is not there yet; it is read as soon as it is, unless its name is wrong",
                topic,
                extra={"action": "topic_missing", "topic": topic},
            )


class Reach:
    """Tells the log when Kafka goes away and when it is back. Used by the consumer's thread alone."""

    def __init__(self, brokers: Iterable[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._brokers = ",".join(brokers)
        self._clock = clock
        self._outage = Outage()
        #: Since when the coordinator is unknown although nothing failed; None = it is known.
        self._lost_at: float | None = None

    def failed(self, error: KafkaError) -> None:
        """Note that Kafka did not do what was asked. Raises what will not pass by itself."""
        if not passes(error):
            raise error
        self._lost_at = None
        self._say(type(error).__name__, self._clock())

    def passed(self, consumer: Any) -> None:
        """Note that nothing failed. Nor does a poll while Kafka is away, but then no coordinator is known."""
        now = self._clock()
        if consumer._coordinator.coordinator_id is None:
            self._lost_at = self._lost_at or now
            if now - self._lost_at > _MOVING_S:
                self._say("the consumer group has no coordinator", now)
            return
        self._lost_at = None
        lasted = self._outage.ended(now)
        if lasted is not None:
            log.warning("Kafka answers again after %.0f s", lasted, extra={"action": "go_on"})

    def _say(self, why: str, now: float) -> None:
        if self._outage.is_news(why, now):
            log.warning(
                "Kafka does not answer (%s); waiting; check brokers: %s", why, self._brokers, extra={"action": "wait"}
            )
