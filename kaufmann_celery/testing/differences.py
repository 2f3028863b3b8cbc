"""Where two payloads differ: one line for each place, by its path. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def differences(expected: Any, emitted: Any, path: str = "payload") -> Iterator[str]:
    """Yield `payload.items[2].price: expected 1.5, got 2.5` for each place where *emitted* is not as *expected*."""
    if isinstance(expected, Mapping) and isinstance(emitted, Mapping):
        for key in dict.fromkeys([*expected, *emitted]):
            where = f"{path}.{key}"
            if key not in emitted:
                yield f"{where}: expected {expected[key]!r}, got nothing"
            elif key not in expected:
                yield f"{where}: expected nothing, got {emitted[key]!r}"
            else:
                yield from differences(expected[key], emitted[key], where)
    elif _is_array(expected) and _is_array(emitted):
        yield from _array_differences(expected, emitted, path)
    elif not _is_same(expected, emitted):
        yield f"{path}: expected {expected!r}, got {emitted!r}"


def _array_differences(expected: Sequence[Any], emitted: Sequence[Any], path: str) -> Iterator[str]:
    for index in range(max(len(expected), len(emitted))):
        where = f"{path}[{index}]"
        if index >= len(emitted):
            yield f"{where}: expected {expected[index]!r}, got nothing"
        elif index >= len(expected):
            yield f"{where}: expected nothing, got {emitted[index]!r}"
        else:
            yield from differences(expected[index], emitted[index], where)


def _is_array(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _is_same(expected: Any, emitted: Any) -> bool:
    """Tell True from 1, which Python does not, and take one NaN for another, which Python does not either."""
    if isinstance(expected, bool) is not isinstance(emitted, bool):
        return False
    return bool(expected == emitted or (expected != expected and emitted != emitted))
