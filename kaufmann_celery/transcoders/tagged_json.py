"""A payload as JSON text, and back, with every type that Avro has.

What JSON lacks is written as an object with one tagged key, `{"~:date": "2024-02-29"}`. A payload's own keys
that look like a tag are escaped, so nothing in a payload can be mistaken for one.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from kaufmann_celery.errors import DecodeError, EncodeError
from kaufmann_celery.transcoders.json_text import encoder

#: Most containers (dicts, lists) inside one another. Python's JSON needs one stack level for each, of 1,000.
MAX_DEPTH: Final = 660

_TAG: Final = "~:"
_ESCAPE: Final = "~:="
#: How any key that begins like a tag shows in JSON text.
_TAG_IN_TEXT: Final = '"~:'
_ESCAPE_IN_TEXT: Final = '"~:='

_TAGGED: Final[dict[type, tuple[str, Callable[[Any], Any]]]] = {
    bytes: ("~:bytes", lambda value: base64.b64encode(value).decode("ascii")),
    bytearray: ("~:bytes", lambda value: base64.b64encode(value).decode("ascii")),
    Decimal: ("~:decimal", str),
    datetime: ("~:datetime", datetime.isoformat),
    date: ("~:date", date.isoformat),
    time: ("~:time", time.isoformat),
    UUID: ("~:uuid", lambda value: value.hex),
    timedelta: ("~:timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    float: ("~:float", repr),
}
_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "~:bytes": base64.b64decode,
    "~:decimal": Decimal,
    "~:datetime": datetime.fromisoformat,
    "~:date": date.fromisoformat,
    "~:time": time.fromisoformat,
    "~:uuid": UUID,
    "~:timedelta": lambda parts: timedelta(*parts),
    "~:float": float,
}


def dumps(value: Any) -> str:
    """The payload as ASCII JSON text. Tuples become lists, and keys strings.

    Raises:
        EncodeError: it nests deeper than MAX_DEPTH, or holds something that Avro does not know.
    """
    tags = 0

    def tagged(item: Any) -> dict[str, Any]:
        nonlocal tags
        tags += 1
        return _tag(item)

    try:
        text = _encode(value, tagged)
        if text.count(_TAG_IN_TEXT) != tags:
            text = _encode(_escaped(value), _tag)
    except ValueError:
        text = _dumps_rare(value)
    except RecursionError:
        raise EncodeError(_TOO_DEEP) from None
    if text.count("{") + text.count("[") > MAX_DEPTH and is_too_deep(value):
        raise EncodeError(_TOO_DEEP)
    return text


def loads(text: str) -> Any:
    """The payload that `dumps` was given.

    Raises:
        DecodeError: the text is not from `dumps`.
    """
    try:
        decoder = _PLAIN if _TAG_IN_TEXT not in text else _ESCAPED if _ESCAPE_IN_TEXT in text else _TAGS
        # A third faster than decode(), which also looks for white space around the value.
        value, end = decoder.raw_decode(text)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise DecodeError(f"the payload's text is damaged ({type(error).__name__})") from None
    if end != len(text):
        raise DecodeError("the payload's text is damaged (more follows its end)")
    return value


def pair_of(value: Any) -> tuple[str, Any]:
    """What JSON lacks, as a tag and what it says in JSON's own types. Raises `EncodeError` for what Avro lacks too."""
    kind = type(value)
    if kind not in _TAGGED:
        kind = next((known for known in _TAGGED if isinstance(value, known)), kind)
    if kind not in _TAGGED:
        raise EncodeError(f"a payload cannot hold {kind.__module__}.{kind.__qualname__}")
    tag, written = _TAGGED[kind]
    return tag, written(value)


def value_of(tag: str, written: Any) -> Any:
    """What `pair_of` was given. Raises `LookupError`, `ValueError`, `TypeError` or `ArithmeticError`."""
    return _READERS[tag](written)


def is_too_deep(value: Any, limit: int = MAX_DEPTH) -> bool:
    """Whether containers nest deeper than *limit*. Takes no stack, however deep they are."""
    level = [value]
    for _ in range(limit + 1):
        level = [child for container in level for child in _children(container)]
        if not level:
            return False
    return True


_TOO_DEEP: Final = f"the payload nests deeper than {MAX_DEPTH} levels"


def _children(value: Any) -> Any:
    """What a container holds; its emptiness counts for a level as well."""
    if isinstance(value, dict):
        return value.values() or (None,)
    return value or (None,) if isinstance(value, list | tuple) else ()


def _encode(value: Any, default: Callable[[Any], Any]) -> str:
    """What `json.dumps` does. Circular payloads end in the depth limit."""
    return encoder(default, allow_nan=False, separators=(",", ":"))(value)


def _dumps_rare(value: Any) -> str:
    """For what the C encoder refuses: NaN and the infinities."""
    try:
        return _encode(_escaped(value), _tag)
    except ValueError as error:
        raise EncodeError(f"the payload has no JSON form ({type(error).__name__})") from None
    except RecursionError:
        raise EncodeError(_TOO_DEEP) from None


def _tag(value: Any) -> dict[str, Any]:
    return dict([pair_of(value)])


def _escaped(value: Any) -> Any:
    """A copy with tag-like keys escaped and non-finite floats tagged. One stack level for each container."""
    if isinstance(value, dict):
        copy = {}
        for key, item in value.items():
            copy[_ESCAPE + key if isinstance(key, str) and key.startswith(_TAG) else key] = _escaped(item)
        return copy
    if isinstance(value, list | tuple):
        items = []
        for item in value:
            items.append(_escaped(item))  # noqa: PERF401 - a comprehension takes a second stack level
        return items
    if isinstance(value, float) and not -_INFINITY < value < _INFINITY:
        return _tag(value)
    return value


_INFINITY: Final = float("inf")


def _untagged(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        for tag, written in found.items():
            read = _READERS.get(tag)
            return read(written) if read else found
    return found


def _unescaped(found: dict[str, Any]) -> Any:
    value = _untagged(found)
    if value is found:
        return {key.removeprefix(_ESCAPE): item for key, item in found.items()}
    return value


_PLAIN: Final = json.JSONDecoder()
_TAGS: Final = json.JSONDecoder(object_hook=_untagged)
_ESCAPED: Final = json.JSONDecoder(object_hook=_unescaped)
