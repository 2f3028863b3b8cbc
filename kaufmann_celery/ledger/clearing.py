"""Ledgers thrown away, because their group's offsets are moved."""

from __future__ import annotations

from collections.abc import Iterable

from kaufmann_celery.ledger.address import keys_of
from kaufmann_celery.ledger.connection import LedgerConnection, translated


def clear(connection: LedgerConnection, bases: Iterable[str]) -> None:
    """Drop the ledgers at *bases*: what they held as outstanding is forgotten. Raises `UnavailableError`."""
    with translated:
        for base in bases:
            connection.client.delete(*keys_of(base))
