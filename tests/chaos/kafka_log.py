"""Record batches as the broker keeps them on disk: what no client shows is when a transaction was committed.

Imports nothing of the package under test. The format (version 2): base offset, length, leader epoch, magic, CRC,
attributes, last offset delta, two times, producer id and epoch, base sequence, count, then the records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import varint

_HEADER = struct.Struct(">qiibIhiqqqhii")
_TRANSACTIONAL, _CONTROL, _COMPRESSED = 0x10, 0x20, 0x07
_COMMIT = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """One record, and when it took effect: when it was appended, or when its transaction was committed."""

    key: bytes | None
    value: bytes | None
    at: float


@dataclass(frozen=True, slots=True)
class _Batch:
    attributes: int
    producer: int
    at: float
    records: tuple[tuple[bytes | None, bytes | None], ...]


def read_partition(directory: Path) -> list[Kept]:
    """Return the records of one partition in the order in which they took effect; of transactions, those committed."""
    kept: list[Kept] = []
    pending: dict[int, list[tuple[bytes | None, bytes | None]]] = {}
    for segment in sorted(directory.glob("*.log")):
        for batch in _batches(segment.read_bytes()):
            if batch.attributes & _CONTROL:
                ((key, _),) = batch.records
                held = pending.pop(batch.producer, [])
                if struct.unpack(">hh", key or b"")[1] == _COMMIT:
                    kept += [Kept(*record, batch.at) for record in held]
            elif batch.attributes & _TRANSACTIONAL:
                pending.setdefault(batch.producer, []).extend(batch.records)
            else:
                kept += [Kept(*record, batch.at) for record in batch.records]
    return kept


def _batches(data: bytes) -> Iterator[_Batch]:
    at = 0
    while at + _HEADER.size <= len(data):
        _, length, _, magic, _, attributes, _, _, latest, producer, _, _, count = _HEADER.unpack_from(data, at)
        end = at + 12 + length
        if not length or end > len(data):
            return
        if magic != 2 or attributes & _COMPRESSED:
            raise ValueError(f"a batch of version {magic}, attributes {attributes:#x}")
        yield _Batch(attributes, producer, latest / 1000, tuple(_records(data, at + _HEADER.size, count)))
        at = end


def _records(data: bytes, at: int, count: int) -> Iterator[tuple[bytes | None, bytes | None]]:
    for _ in range(count):
        length, at = varint.signed(data, at)
        end = at + length
        _, at = varint.signed(data, at + 1)  # after the attributes: time
        _, at = varint.signed(data, at)  # offset
        key, at = _bytes(data, at)
        value, at = _bytes(data, at)
        yield key, value
        at = end


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = varint.signed(data, at)
    return (None, at) if length < 0 else (data[at : at + length], at + length)
