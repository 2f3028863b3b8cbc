"""Offsets as one argument of a script, `5-9 12-12`: they mostly follow one another. Pure."""

from __future__ import annotations

from collections.abc import Iterable


def spans(offsets: Iterable[int]) -> str:
    """Return *offsets* as text, in their order."""
    found: list[str] = []
    first = last = None
    for offset in offsets:
        if last is None or offset != last + 1:
            if last is not None:
                found.append(f"{first}-{last}")
            first = offset
        last = offset
    if last is not None:
        found.append(f"{first}-{last}")
    return " ".join(found)


def spread(text: bytes) -> list[int]:
    """Return the offsets of what a script answered."""
    offsets: list[int] = []
    for span in text.split():
        first, last = span.split(b"-")
        offsets.extend(range(int(first), int(last) + 1))
    return offsets
