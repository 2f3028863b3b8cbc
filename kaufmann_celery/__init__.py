"""Run Kafka event handlers on Celery: nothing is lost, whatever crashes.

    Kafka ─► consume ─► decode ─► dispatch ══ Celery/Redis ══► handle ─┐        worker processes (Celery)
      ▲                    │          ▲                                │
      │                    │          └──── claim ◄── ledger (Redis) ◄─┘ outcome
      │                    ▼                              │
      └── commit ◄── settle (result callback) ◄───────────┘                     ingester processes
                        └─► Kafka: replies, event.error.*

The steps are modules of those names, joined by `ingester.py`; nouns (`event`, `watermark`, `ledger`, `outcome`,
`transcoders`) are what steps use. `docs/design.md` says what each is for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kaufmann_celery.errors import ConfigError, KaufmannError, PublishError, Retry, UnavailableError
from kaufmann_celery.event import ErrorEvent, Event, Output, Position

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.middleware import Middleware
    from kaufmann_celery.outputs.producing import PublishNothing

__all__ = [
    "ConfigError",
    "ErrorEvent",
    "Event",
    "Kaufmann",
    "KaufmannError",
    "Middleware",
    "Output",
    "Position",
    "PublishError",
    "PublishNothing",
    "Retry",
    "UnavailableError",
]


#: Imported, and Celery with the first of them, when they are first asked for.
_LATER = {"Kaufmann": "app", "Middleware": "middleware", "PublishNothing": "outputs.producing"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
