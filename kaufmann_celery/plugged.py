"""What a service plugs in by a setting: imported and checked at start; where it raises, the event fails.

The one place, besides the handler's own, where anything may be raised and is caught.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from kaufmann_celery.errors import ConfigError, EncodeError, EventError, message_of


def imported(path: str, setting: str) -> Any:
    """Return what the dotted *path* names: a module, or something in one. Raises `ConfigError`."""
    module, _, name = path.rpartition(".")
    try:
        parent = import_module(module or path)
        return getattr(parent, name) if module and hasattr(parent, name) else import_module(path)
    except ImportError as error:
        raise ConfigError(f"{setting}: there is no {path} ({error})") from error


def function(path: str, setting: str) -> Callable[..., Any]:
    """Return the function that the dotted *path* names. Raises `ConfigError`."""
    found = imported(path, setting)
    if not callable(found):
        raise ConfigError(f"{setting}: {path} is no function")
    return found  # type: ignore[no-any-return] # callable() leaves it Any


def called(what: str, plugged: Callable[..., Any], *args: Any, error: type[EventError] = EncodeError) -> Any:
    """Call *what* the service has plugged in; raise *error*, which says so, where it raises anything."""
    try:
        return plugged(*args)
    except Exception as raised:  # the service's own code: what is wrong with it is said of its event
        raise error(f"{what} raised {type(raised).__name__}: {message_of(raised)}") from raised
