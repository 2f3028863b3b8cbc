"""Numbers of variable length (LEB128), as Kafka's records and the commits' metadata hold them."""

from __future__ import annotations


def unsigned(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at *at*, and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at


def signed(data: bytes, at: int) -> tuple[int, int]:
    """The same for a zigzag number."""
    number, at = unsigned(data, at)
    return number >> 1 ^ -(number & 1), at
