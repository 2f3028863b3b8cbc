"""Where in Redis the ledger of a partition stands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

#: Seconds after which a ledger that nobody has touched is dropped. Its owner puts the time back with each commit.
TTL_S = 30 * 24 * 3600

#: The tag where none is asked for: whoever sent a task, it may begin a claim of its dispatch number.
UNTAGGED = "-"

_PARTS = ("owner", "claims", "leases", "runs", "outcomes", "marks", "due", "raised", "handled")


@dataclass(frozen=True, slots=True)
class LedgerAddress:
    """One partition of one topic of one cluster, for one group. Offsets repeat, so all of it is in the keys.

    A topic's UUID tells a topic from another that was created under its name after it was deleted.
    """

    prefix: str
    cluster_id: str
    group: str
    topic_id: str
    partition: int

    @property
    def base(self) -> str:
        """The keys' common part. The braces put them into one hash slot of a Redis Cluster."""
        return f"{self.prefix}:{{{self.cluster_id}/{self.group}/{self.topic_id}/{self.partition}}}"


@lru_cache(maxsize=1024)
def keys_of(base: str) -> tuple[str, ...]:
    """Return the ledger's keys, in the order that the scripts count them. Kept, for each run asks at each report."""
    return tuple(f"{base}:{part}" for part in _PARTS)


def wake_channel(prefix: str, member: str) -> str:
    """Return the channel on which workers tell the owner that there is something to settle."""
    return f"{prefix}:wake:{member}"
