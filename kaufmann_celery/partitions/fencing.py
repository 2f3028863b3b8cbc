"""Ends the transaction that a dead or hung owner left open, so that nobody waits until it times out.

While it is open the group's commit cannot be read, and readers of its outputs see nothing that follows. Only what
shortens that wait is here: that nothing is written twice rests on the group's generation and on stable commits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from kaufmann_celery.config import Config
from kaufmann_celery.ledger import LedgerAddress, LedgerConnection
from kaufmann_celery.ledger.reading import wake_channel_at
from kaufmann_celery.partitions.messages import Unstable

log = logging.getLogger(__name__)


class Fencing:
    """Used by the ingester's loop alone."""

    def __init__(self, config: Config, connection: LedgerConnection, *, own: str, fence: Callable[[str], None]) -> None:
        self._config = config
        self._connection = connection
        self._own = own
        self._fence = fence
        self._heard: dict[tuple[str, str, int], Unstable] = {}
        #: Transactional ids that were fenced, with the generation: what came before that is over.
        self._fenced: set[tuple[str, int]] = set()

    def heard(self, message: Unstable) -> None:
        """Note a partition whose commit is not stable."""
        self._heard[(message.cluster_id, message.topic_id, message.partition.partition)] = message

    def fence(self) -> None:
        """Fence who owned them last, by the ledger. Raises `UnavailableError`; what is left is tried next time."""
        while self._heard:
            key, message = next(iter(self._heard.items()))
            address = LedgerAddress(
                self._config.redis_prefix, message.cluster_id, self._config.consumer_group, message.topic_id,
                message.partition.partition,
            )  # fmt: skip
            channel = wake_channel_at(self._connection, address.base)
            if channel is not None:
                self._fence_once(transactional_id(self._config, channel), message)
            del self._heard[key]

    def _fence_once(self, last: str, message: Unstable) -> None:
        if last == self._own or (last, message.generation) in self._fenced:
            return
        log.warning(
            "the last owner of %s:%d left a transaction open: ended",
            *message.partition,
            extra={"action": "fence", "topic": message.partition.topic, "partition": message.partition.partition},
        )
        self._fence(last)
        self._fenced.add((last, message.generation))


def transactional_id(config: Config, wake_channel: str) -> str:
    """Return the transactional id of the ingester that listens on *wake_channel*, which each ledger it owns names."""
    return f"{config.consumer_group}.{wake_channel.rpartition(':')[2]}"
