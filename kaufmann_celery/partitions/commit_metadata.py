"""What Kafka holds as finished: the committed offset, and in the commit's metadata what is not finished above it. Pure.

Kafka keeps up to 4,096 characters with each commit (`offset.metadata.max.bytes`). They carry the ledger's
incarnation, the highest finished offset, and the delivered offsets between the two that are not finished. So
whoever takes the partition over knows from Kafka alone what has run, even when Redis has lost everything.

The form, version 1: `kc1.<incarnation>.<body>`, the body base64url of one letter and the set:
`v`: varints (LEB128) of `highest - offset`, then of the gaps from each unfinished offset to the next;
`b`: a varint of `highest - offset`, then a bitmap of the offsets from the committed one on, 1 = unfinished.
The shorter is written, and after it the CRC-32 of incarnation, committed offset and body, so that what was cut, or
copied to another offset, is not believed.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

#: Kafka's default for `offset.metadata.max.bytes`, less what the incarnation and the form take.
MAX_BODY_BYTES = 3000

_FORM = "kc1"
_SEAL_BYTES = 4
#: The letter, the longest varint of a Kafka offset (63 bits), and the seal.
_FRAME_BYTES = 1 + 9 + _SEAL_BYTES


@dataclass(frozen=True, slots=True)
class Committed:
    """What one commit says. `incarnation` is None where the commit was not written by this library."""

    #: Everything below is finished.
    offset: int
    #: The highest finished offset; `offset - 1` where nothing above the committed offset is finished.
    highest: int
    #: Delivered and not finished, from `offset` to `highest`, ascending.
    unfinished: tuple[int, ...] = ()
    incarnation: str | None = None

    def holds(self, offset: int) -> bool:
        """Return whether *offset* is finished according to this commit."""
        if not self.offset <= offset <= self.highest:
            return offset < self.offset
        at = bisect_left(self.unfinished, offset)
        return at == len(self.unfinished) or self.unfinished[at] != offset

    def metadata(self) -> str:
        """Return the text that goes with the commit."""
        assert self.incarnation, "a commit names its ledger"
        body = min(_varint_body(self), _bitmap_body(self), key=len)
        sealed = body + _seal(self.offset, self.incarnation, body)
        text = base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()
        return f"{_FORM}.{self.incarnation}.{text}"


def incarnation_of(topic_id: str, random: str) -> str:
    """Return the name of a history of offsets: *random*, and what tells the topic from another of its name."""
    return f"{random}{zlib.crc32(topic_id.encode()):08x}"


def is_of(committed: Committed, topic_id: str) -> bool:
    """Return whether *committed* may be of this topic: by our incarnation, or because nothing says otherwise.

    A group's commits go with their topic; but a member that has not heard of its end may commit once more.
    """
    return committed.incarnation is None or committed.incarnation.endswith(incarnation_of(topic_id, ""))


def parse(offset: int, metadata: str | None) -> Committed:
    """Read a commit. Metadata of an unknown form means that only the offset is known."""
    form, _, rest = (metadata or "").partition(".")
    incarnation, _, text = rest.partition(".")
    if form != _FORM or not incarnation:
        return Committed(offset, offset - 1)
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        body, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not body or seal != _seal(offset, incarnation, body):
            return Committed(offset, offset - 1)
        highest, unfinished = _read_body(offset, body)
    except (binascii.Error, ValueError, StopIteration):
        return Committed(offset, offset - 1)
    return Committed(offset, highest, unfinished, incarnation)


def worst_size(unfinished: Sequence[int], first: int) -> int:
    """Return an upper bound in bytes of the body, were everything delivered but *unfinished* (ascending) finished.

    *first* is the lowest offset that the commit may name. Dropping offsets from the set never makes it longer,
    so what fits now fits whichever of these events finish first.
    """
    if not unfinished:
        return _FRAME_BYTES
    return _FRAME_BYTES + min(_gap_bytes(unfinished, first), (unfinished[-1] - first) // 8 + 1)


def room(unfinished: Callable[[], Sequence[int]], first: int, highest: int, window: int) -> int:
    """Return how many more offsets may become unfinished, were none ever *window* or more above the lowest.

    A bitmap of a small window always fits, however many are unfinished, and then *unfinished* is not called; of a large
    one only few gaps do. *highest* is the last unfinished offset, *first* where there is none.
    """
    span = max(window, highest + 1 - first)
    if _FRAME_BYTES + (span + 7) // 8 <= MAX_BODY_BYTES:
        return span
    left = MAX_BODY_BYTES - _FRAME_BYTES - _gap_bytes(unfinished(), first)
    return max(0, left // _varint_size(span))


def _gap_bytes(unfinished: Sequence[int], first: int) -> int:
    return sum(_varint_size(b - a) for a, b in zip([first, *unfinished], unfinished, strict=False))


def _seal(offset: int, incarnation: str, body: bytes) -> bytes:
    return zlib.crc32(f"{incarnation} {offset} ".encode() + body).to_bytes(_SEAL_BYTES, "big")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _varint_size(number: int) -> int:
    return max(1, (number.bit_length() + 6) // 7)


def _read_varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0


def _varint_body(committed: Committed) -> bytes:
    span = committed.highest + 1 - committed.offset
    previous = [committed.offset, *committed.unfinished]
    gaps = (b - a for a, b in zip(previous, committed.unfinished, strict=False))
    return b"v" + _varint(span) + b"".join(map(_varint, gaps))


def _bitmap_body(committed: Committed) -> bytes:
    span = committed.highest + 1 - committed.offset
    # As far as the last unfinished one, not as the span, which one stuck event makes long.
    reach = committed.unfinished[-1] + 1 - committed.offset if committed.unfinished else 0
    bits = bytearray((reach + 7) // 8)
    for offset in committed.unfinished:
        index = offset - committed.offset
        bits[index >> 3] |= 1 << (index & 7)
    return b"b" + _varint(span) + bytes(bits)


def _read_body(first: int, body: bytes) -> tuple[int, tuple[int, ...]]:
    numbers = _read_varints(body[1:])
    span = next(numbers)
    highest = first + span - 1
    if body[:1] == b"b":
        return highest, tuple(_read_bitmap(first, body[1 + len(_varint(span)) :]))
    offsets: list[int] = []
    at = first
    for gap in numbers:
        at += gap
        offsets.append(at)
    return highest, tuple(offsets)


def _read_bitmap(first: int, bits: bytes) -> Iterator[int]:
    for index, byte in enumerate(bits):
        for bit in range(8):
            if byte >> bit & 1:
                yield first + index * 8 + bit
