"""What a service plugs in by a setting: imported and checked at start; where it raises, the event fails.

The one place, besides the handler's own, where anything may be raised and is caught.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from kaufmann_celery.errors import ConfigError, EncodeError, EventError, message_of

#: What a module of the service's own raises when it is imported and broken.
IMPORT_FAULTS = (
    ImportError, AttributeError, SyntaxError, NameError, TypeError, ValueError, LookupError, OSError,
)  # fmt: skip


def told(error: BaseException) -> str:
    """Return what an import raised, and where in the service's own code: `KeyError: 'X' (service.py:12)`."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if Path.cwd() in file.parents and "site-packages" not in file.parts]
    where = f" ({own[-1][0].relative_to(Path.cwd())}:{own[-1][1]})" if own else ""
    return f"{type(error).__name__}: {error}{where}"


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
