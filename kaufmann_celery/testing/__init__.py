"""For the tests of services: a bus without Kafka, a schema registry that fails on request, and a pytest plugin.

MockBus               given_event, then_event: the service's handlers, in this process, and nothing else
FakeSchemaRegistry    a schema registry over HTTP on the loopback interface
plugin                pytest's fixtures `kaufmann_bus` and `kaufmann_registry`; inert until one is used
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kaufmann_celery.testing.bus import MockBus
    from kaufmann_celery.testing.emissions import Emitted
    from kaufmann_celery.testing.fake_registry import FakeSchemaRegistry

__all__ = ["Emitted", "FakeSchemaRegistry", "MockBus"]

_HOMES = {"Emitted": "emissions", "FakeSchemaRegistry": "fake_registry", "MockBus": "bus"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: pytest loads the plugin, and this package with it, in every run."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        # kafka-python reads its protocol files by functions that Python 3.11 deprecates: no warning of the user's.
        warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
