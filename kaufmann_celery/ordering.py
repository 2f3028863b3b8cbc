"""Which lane an event belongs to: events of one lane run one after the other, in the partition's order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kaufmann_celery.config import Config
from kaufmann_celery.config.fields import Fault
from kaufmann_celery.config.values import ordering_key as checked
from kaufmann_celery.errors import ConfigError, DecodeError
from kaufmann_celery.event import Event
from kaufmann_celery.handlers import Handler
from kaufmann_celery.plugged import called, function

#: What `ordering_key` may be: `key`, a path into the event, a function of it or the dotted path of one.
OrderingKey = str | Callable[[Event], Any]

_PATHS = ("payload.", "meta.", "headers.")
#: The one lane of a partition, under `ordering="partition"`.
_WHOLE = ""


class Ordering:
    """The settings `ordering` and `ordering_key`, and the handlers' own. Raises `ConfigError` where one is wrong."""

    def __init__(self, config: Config, handlers: Iterable[Handler]) -> None:
        self._ordering = config.ordering
        self._default = _resolved(config.ordering_key, "ordering_key")
        self._own = {
            handler.pattern: _resolved(handler.options.ordering_key, f"ordering_key of {handler.pattern}")
            for handler in handlers
            if handler.options.ordering_key is not None
        }

    @property
    def has_lanes(self) -> bool:
        """Return whether events wait for others at all."""
        return self._ordering != "unordered"

    def lane(self, handler: Handler | None, key: str | None, event: Callable[[], Event] | None) -> str | None:
        """Return the name of an event's lane in its partition; None where it may run at any time.

        *key* is the event's; *event* makes the event itself, and is None for a record that could not be decoded.
        Raises `DecodeError` where a function that `ordering_key` names raises.
        """
        if not self.has_lanes:
            return None
        if self._ordering == "partition":
            return _WHOLE
        by = self._default if handler is None else self._own.get(handler.pattern, self._default)
        if by == "key":
            return key
        found = None if event is None else _found(by, event())
        return None if found is None else str(found)


def _resolved(key: OrderingKey, what: str) -> OrderingKey:
    try:
        key = checked(key)
    except Fault as error:
        raise ConfigError(f"{what}: {error}") from error
    return key if callable(key) or key == "key" or key.startswith(_PATHS) else function(key, what)


def _found(by: OrderingKey, event: Event) -> Any:
    if callable(by):
        return called("the function of ordering_key", by, event, error=DecodeError)
    root, *path = by.split(".")
    value: Any = dict(event.headers) if root == "headers" else getattr(event, root)
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
