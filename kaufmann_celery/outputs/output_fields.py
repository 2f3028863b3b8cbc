"""The fields of an output, checked before anything is made of them: what is wrong with one names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kaufmann_celery.errors import EncodeError
from kaufmann_celery.event import Headers, Output
from kaufmann_celery.transcoders import tagged_json


def check(output: Output) -> None:
    """Raise `EncodeError` where a field of *output*, but for its topics and payload, is not what it is to be."""
    for field, is_right, expected in _FIELDS:
        value = getattr(output, field)
        if (value is not None or field == "name") and not is_right(value):
            raise EncodeError(f"{field}: expected {expected}, got {_shown(value)}")
    if output.meta:
        _check_meta(output.meta)


def headers_of(given: Mapping[str, bytes | str] | Sequence[tuple[str, bytes]] | None) -> Headers:
    """Return an output's headers as Kafka has them. Raises `EncodeError` where a value is no header's."""
    return tuple((name, _header(name, value)) for name, value in _pairs(given or ()))


def _check_meta(meta: Mapping[str, Any]) -> None:
    try:
        tagged_json.dumps(dict(meta))
    except EncodeError as error:
        raise EncodeError(f"meta: it cannot be written: {error}") from error


def _header(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not _is_text(value):
        raise EncodeError(f"headers: expected text or bytes for {name}, got {_shown(value)}")
    encoded: bytes = value.encode()
    return encoded


def _pairs(given: Any) -> Sequence[Any]:
    return tuple(given.items()) if isinstance(given, Mapping) else given


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def _is_name(value: Any) -> bool:
    return _is_text(value) and value != ""


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_meta(value: Any) -> bool:
    return isinstance(value, Mapping) and all(map(_is_text, value))


def _are_headers(value: Any) -> bool:
    return isinstance(value, (Mapping, list, tuple)) and all(map(_is_header, _pairs(value)))


def _is_header(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and _is_text(value[0])


def _shown(value: Any) -> str:
    """Return what *value* is, and nothing of what it says: it may be data."""
    if isinstance(value, str) and not _is_name(value):
        return "half of a surrogate pair" if value else "an empty one"
    return type(value).__name__


_FIELDS: Final[Sequence[tuple[str, Callable[[Any], bool], str]]] = (
    ("name", _is_name, "text"),
    ("key", _is_text, "text"),
    ("partition", _is_whole, "a whole number"),
    ("reply", _is_flag, "True or False"),
    ("reply_to", _is_text, "topic or topic:partition"),
    ("format", _is_text, "text"),
    ("meta", _is_meta, "a dict with text as keys"),
    ("headers", _are_headers, "a dict or a list of pairs, with text as names"),
)
