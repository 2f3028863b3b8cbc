"""Which partition a record goes to: a number, which its sender takes modulo the topic's partitions.

The number is fixed where the output is made, so a repeat after a crash goes to the same partition. Pure.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Final

#: The names that the setting `partition_strategy` knows.
STRATEGIES: Final = ("key", "random", "md5")


def spread(strategy: str, *, name: str, key: str | None, message_id: str) -> int:
    """Return a number that decides the partition.

    `key`: Kafka's own murmur2 of *key*, random without one. `random`: by the random message id, whose CRC-32 takes a
    twentieth of the time. `md5`: KaufmannEx's sum of the MD5 bytes of name and message id.
    """
    if strategy == "md5":
        return sum(hashlib.md5(f"{name}{message_id}".encode()).digest())  # noqa: S324 - KaufmannEx's choice
    if strategy == "key" and key is not None:
        return by_key(key.encode())
    return zlib.crc32(message_id.encode())


def by_key(key: bytes) -> int:
    """Return Kafka's own hash of *key*, as its default partitioner has it."""
    from kafka.partitioner.default import murmur2

    return int(murmur2(key) & 0x7FFFFFFF)
