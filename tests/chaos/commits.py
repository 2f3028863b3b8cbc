"""The group's commits as Kafka itself keeps them, in `__consumer_offsets`, and what their metadata says.

Written from the formats' descriptions, not with the package under test, of which nothing is imported.

Key of an offset commit: int16 version (0 or 1), group and topic (int16 length + UTF-8 each), int32 partition.
Value: int16 version; int64 offset; from version 3 int32 leader epoch; metadata, whose length from version 4 on is a
varint, one more than it is.

A record about the group itself has the key int16 2, group; and the value int16 version, protocol type (from version 4
on with a varint for its length), int32 generation.

Metadata: `kc1.<incarnation>.<base64url>`; its bytes are a letter, a body, and a CRC-32 of incarnation, offset and what
is before it. Both bodies begin with the varint (LEB128) of one more than the highest finished offset, less the offset.
After `v` come varints, the gaps from each unfinished offset to the next; after `b` a bitmap from the offset on,
1 = unfinished.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from tests.chaos import varint

_GROUP = 2


@dataclass(frozen=True, slots=True)
class CommitKey:
    """Whose commit a record of `__consumer_offsets` is."""

    group: str
    topic: str
    partition: int


def parse_key(data: bytes) -> CommitKey | None:
    """Return what an offset commit is about; None for the other records of that topic."""
    (version,) = struct.unpack_from(">h", data)
    if version not in (0, 1):
        return None
    group, at = _text(data, 2)
    topic, at = _text(data, at)
    return CommitKey(group, topic, struct.unpack_from(">i", data, at)[0])


def parse_value(data: bytes) -> tuple[int, str]:
    """Return offset and metadata."""
    version, offset = struct.unpack_from(">hq", data)
    if not 0 <= version <= 4:
        raise ValueError(f"a commit of version {version}")
    at = 14 if version >= 3 else 10
    if version >= 4:
        length, at = varint.unsigned(data, at)
        return offset, data[at : at + length - 1].decode()
    return offset, _text(data, at)[0]


def parse_group(data: bytes) -> str | None:
    """Return of which group a record tells the generation; None for the other records of that topic."""
    (version,) = struct.unpack_from(">h", data)
    return _text(data, 2)[0] if version == _GROUP else None


def parse_generation(data: bytes) -> int:
    """Return the group's generation."""
    (version,) = struct.unpack_from(">h", data)
    if not 0 <= version <= 4:
        raise ValueError(f"a group of version {version}")
    if version >= 4:
        length, at = varint.unsigned(data, 2)
        at += length - 1
    else:
        _, at = _text(data, 2)
    generation: int = struct.unpack_from(">i", data, at)[0]
    return generation


class Unreadable(ValueError):
    """Metadata that is not what the form describes."""


def parse_metadata(offset: int, metadata: str) -> tuple[int, frozenset[int]]:
    """Return the highest finished offset, and those from the committed one to it that are not finished."""
    form, _, rest = metadata.partition(".")
    incarnation, _, text = rest.partition(".")
    if form != "kc1" or not incarnation:
        raise Unreadable(metadata)
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    body, seal = data[:-4], data[-4:]
    if zlib.crc32(f"{incarnation} {offset} ".encode() + body) != int.from_bytes(seal, "big"):
        raise Unreadable(metadata)
    span, at = varint.unsigned(body, 1)
    unfinished = {b"v": _gaps, b"b": _bits}[body[:1]](body[at:], offset)
    return offset + span - 1, frozenset(unfinished)


def _gaps(data: bytes, offset: int) -> Iterator[int]:
    at = 0
    while at < len(data):
        gap, at = varint.unsigned(data, at)
        offset += gap
        yield offset


def _bits(data: bytes, offset: int) -> Iterator[int]:
    number = int.from_bytes(data, "little")
    for bit in range(len(data) * 8):
        if number >> bit & 1:
            yield offset + bit


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    end = at + 2 + max(0, length)
    return data[at + 2 : end].decode(), end
