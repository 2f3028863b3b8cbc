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

from typing import TYPE_CHECKING, Any

from kaufmann_celery.errors import ConfigError, KaufmannError, PublishError, Retry, UnavailableError
from kaufmann_celery.event import ErrorEvent, Event, Output, Position
from kaufmann_celery.middleware import Middleware
from kaufmann_celery.outputs.producing import PublishNothing

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

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


def __getattr__(name: str) -> Any:
    """Import `Kaufmann`, and Celery with it, when it is first asked for."""
    if name == "Kaufmann":
        from kaufmann_celery.app import Kaufmann

        return Kaufmann
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
