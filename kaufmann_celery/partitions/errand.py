"""What an ingester is sent for besides its service's stream: some records, read by a group of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kaufmann_celery.config import Config
from kaufmann_celery.partitions.until_end import Endless


@dataclass(frozen=True, slots=True)
class Errand:
    """Handlers, workers and error events are the service's. Offsets and ledgers are not: its own group goes on."""

    #: The consumer group to read and commit as.
    group: str
    topics: tuple[str, ...]
    #: Which records, and when it is done.
    bound: Endless
    #: False: nothing of what handlers emit, no error event and no dead letter goes to Kafka.
    publishes: bool = True

    def reading(self, config: Config) -> Config:
        """Return the settings by which it reads and commits."""
        delivery = config.delivery if self.publishes else "at_least_once"
        # Where the group begins was committed before; what it was not is not wanted.
        return replace(config, consumer_group=self.group, delivery=delivery, auto_offset_reset="latest")
