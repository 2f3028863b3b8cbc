"""Reads values of settings from text or Python objects. Pure; a fault shows no part of the value."""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from kaufmann_celery.config.fields import Fault, Read

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_TOPIC_GLOB = re.compile(r"[a-zA-Z0-9._*?!\[\]-]{1,249}")
_GROUP = re.compile(r"[^\s{}]{1,249}")
_PREFIX = re.compile(r"[a-zA-Z0-9._:-]{1,100}")
_WHOLE_NUMBER = re.compile(r"[+-]?[0-9][0-9_]{0,30}")
_EVENT_PATH = re.compile(r"(payload|meta|headers)(\.[^.\s]+)+")
#: Options of kafka-python that have a setting of their own, or that the guarantees rest on.
_OWNED_OPTIONS = {
    "bootstrap_servers": "set brokers instead",
    "group_id": "set consumer_group instead",
    "auto_offset_reset": "set auto_offset_reset instead",
    "enable_auto_commit": "offsets are committed once their events are finished",
    "transactional_id": "set delivery instead",
    "partitioner": "set partition_strategy instead",
    **dict.fromkeys(
        ("key_deserializer", "value_deserializer", "key_serializer", "value_serializer"), "set transcoders instead"
    ),
}
#: kafka-python's codecs, each with the module that it needs.
_CODECS = {"gzip": "gzip", "lz4": "lz4", "snappy": "snappy", "zstd": "zstandard"}
#: kafka-python's assignors, by the names that Kafka gives them.
_ASSIGNORS = ("cooperative-sticky", "range", "roundrobin", "sticky")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean …?` with the one of *known* that is most like *name*, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {close[0]}?" if close else ""


def text(value: Any) -> str:
    """Read text that is not empty and fits on one line."""
    if not isinstance(value, str):
        raise Fault("must be text")
    if not value.strip():
        raise Fault("must not be empty")
    if not value.strip().isprintable():
        raise Fault("must be one line of printable text")
    return value.strip()


def optional(read: Read) -> Read:
    """Return a reader for which empty text means None."""
    return lambda value: None if isinstance(value, str) and not value.strip() else read(value)


def whole_number(*, at_least: int) -> Callable[[Any], int]:
    """Return a reader of whole numbers from *at_least* on."""

    def read(value: Any) -> int:
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            value = int(value.replace("_", ""))
        if not isinstance(value, int) or isinstance(value, bool):
            raise Fault("must be a whole number")
        if value < at_least:
            raise Fault(f"must be at least {at_least}")
        return value

    return read


def seconds(value: Any) -> float:
    """Read a duration in seconds, above zero."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Fault("must be a number of seconds")
    if number <= 0:
        raise Fault("must be above 0 seconds")
    return number


def choice(*names: str, or_callable: bool = False) -> Callable[[Any], str]:
    """Return a reader of one of *names*, or of a dotted path to a function where *or_callable*."""
    options = [*names, "a dotted path to a function"] if or_callable else [*names]
    expected = f"must be {', '.join(options[:-1])} or {options[-1]}"

    def read(value: Any) -> str:
        if isinstance(value, str) and (value.strip() in names or (or_callable and _is_function(value.strip()))):
            return value.strip()
        raise Fault(expected + (suggestion(value, names) if isinstance(value, str) else ""))

    return read


def dotted_path(value: Any) -> str:
    """Read the path of something to import, `service.handlers`."""
    if not _is_dotted(text(value)):
        raise Fault("must be a dotted path such as service.handlers")
    return text(value)


def ordering_key(value: Any) -> Any:
    """Read `key`, a path into the event, a dotted path to a function, or a function."""
    if callable(value):
        return value
    path = text(value)
    if path == "key" or _EVENT_PATH.fullmatch(path) or _is_function(path):
        return path
    raise Fault("must be key, a path such as payload.order_id or a dotted path to a function")


def topic(value: Any) -> str:
    """Read a name that Kafka takes for a topic; a service's follows the same rule."""
    name = text(value)
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise Fault("must be 1 to 249 letters, digits, dots, underscores or hyphens")
    return name


def group(value: Any) -> str:
    """Read a consumer group. Kafka takes any text; braces would part the ledger's keys in a Redis cluster."""
    if not _GROUP.fullmatch(text(value)):
        raise Fault("must be 1 to 249 characters without spaces and braces")
    return text(value)


def topic_glob(value: Any) -> str:
    """Read a topic name in which `*`, `?` and `[…]` stand for others."""
    if not _TOPIC_GLOB.fullmatch(text(value)):
        raise Fault("must be topic names, in which * and ? may stand for others")
    return text(value)


def key_prefix(value: Any) -> str:
    """Read what Redis keys begin with."""
    if not _PREFIX.fullmatch(text(value)):
        raise Fault("must be 1 to 100 letters, digits, dots, underscores, colons or hyphens")
    return text(value)


def several(read: Read, *, empty: bool = False) -> Callable[[Any], tuple[Any, ...]]:
    """Return a reader of a comma list, a JSON list or a sequence; what repeats is read once."""

    def read_all(value: Any) -> tuple[Any, ...]:
        items = tuple(dict.fromkeys(read(item) for item in _items(value)))
        if not items and not empty:
            raise Fault("must not be empty")
        return items

    return read_all


def paths(value: Any) -> tuple[Path, ...]:
    """Read directories: a list as `several` takes it, or one separated as in PATH."""
    if isinstance(value, Path):
        return (value,)
    if isinstance(value, str) and not value.strip().startswith("["):
        value = value.replace(os.pathsep, ",")
    return tuple(Path(item) for item in several(lambda item: text(os.fspath(item) if _is_path(item) else item))(value))


def options(value: Any) -> Mapping[str, Any]:
    """Read options for kafka-python: a mapping, or a JSON object."""
    if isinstance(value, str):
        value = _json(value)
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise Fault("must be a JSON object or a dict with text as keys")
    for name in value:
        if name in _OWNED_OPTIONS:
            raise Fault(f"must not hold {name}: {_OWNED_OPTIONS[name]}")
    _check_assignors(value.get("partition_assignment_strategy", ()))
    _check_compression(value.get("compression_type"))
    return MappingProxyType(dict(value))


def _check_assignors(strategies: Any) -> None:
    if not isinstance(strategies, list | tuple):
        raise Fault("partition_assignment_strategy must be a list")
    for one in strategies:
        if isinstance(one, str) and one not in _ASSIGNORS:
            raise Fault(
                f"partition_assignment_strategy must be of {', '.join(_ASSIGNORS)}{suggestion(one, _ASSIGNORS)}"
            )
    if "cooperative-sticky" in strategies and len(strategies) > 1:
        raise Fault("partition_assignment_strategy: cooperative-sticky goes with no other")


def _check_compression(codec: Any) -> None:
    if codec is None:
        return
    if codec not in tuple(_CODECS):
        near = suggestion(codec, _CODECS) if isinstance(codec, str) else ""
        raise Fault(f"compression_type must be of {', '.join(_CODECS)}{near}")
    if find_spec(_CODECS[codec]) is None:
        raise Fault(f"compression_type {codec} needs pip install 'kaufmann-celery[compression]'")


def _items(value: Any) -> Sequence[Any]:
    if isinstance(value, str):
        listed = _json(value)
        value = listed if isinstance(listed, list) else [item for item in value.split(",") if item.strip()]
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise Fault("must be a comma-separated list")
    return value


def _json(value: str) -> Any:
    """Return what *value* is in JSON, None where it is not JSON."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return None


def _is_dotted(value: str) -> bool:
    return all(part.isidentifier() for part in value.split("."))


def _is_function(value: str) -> bool:
    return "." in value and _is_dotted(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, os.PathLike)
