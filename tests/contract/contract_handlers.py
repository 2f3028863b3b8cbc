"""KaufmannEx's way, beside the other handlers of the contract service."""

from __future__ import annotations

from typing import Any

from kaufmann_celery import ErrorEvent, Event

EVENTS = ("contract.matched",)


def given_event(event: Event | ErrorEvent) -> Any:
    match event:
        case Event(name="contract.matched", payload={"text": "fail"}):
            raise ValueError("as asked")
        case Event(name="contract.matched", payload={"text": text}):
            return ("contract.done", {"text": text})
        case ErrorEvent(name=name, error=error):
            return ("contract.done", {"text": f"{name}: {error}"})
    raise AssertionError(event)
