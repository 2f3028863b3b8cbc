"""The registry's subject for an event's name, as KaufmannEx has it."""

from __future__ import annotations

from typing import Final

_ERROR: Final = "event.error"
_QUERY_WIDTH: Final = len("query.req")


def subject_of(event_name: str) -> str:
    """The name itself; `query.req` or `query.res` for a query's; `event.error` for any error event's."""
    if event_name.startswith("query."):
        return event_name[:_QUERY_WIDTH]
    if event_name == _ERROR or event_name.startswith(f"{_ERROR}."):
        return _ERROR
    return event_name


def subject_candidates(event_name: str) -> tuple[str, ...]:
    """The subjects to try, in this order: an error event may have one of its own before `event.error`."""
    subject = subject_of(event_name)
    return (event_name, subject) if subject == _ERROR and event_name != _ERROR else (subject,)
