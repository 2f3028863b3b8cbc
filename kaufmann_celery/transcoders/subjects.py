"""The registry's subject for an event: as KaufmannEx has it, or by a function of the service's own."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from kaufmann_celery.config import Config
from kaufmann_celery.errors import EventError
from kaufmann_celery.plugged import called, function

_ERROR: Final = "event.error"
_QUERY_WIDTH: Final = len("query.req")
#: Names come off the wire: no more than this many answers are remembered.
_MOST_REMEMBERED: Final = 10_000
#: These would lead a registry's URL elsewhere.
NO_SUBJECTS: Final = frozenset({"", ".", ".."})


def subject_of(event_name: str) -> str:
    """The name itself; `query.req` or `query.res` for a query's; `event.error` for any error event's."""
    if event_name.startswith("query."):
        return event_name[:_QUERY_WIDTH]
    if event_name == _ERROR or event_name.startswith(f"{_ERROR}."):
        return _ERROR
    return event_name


@lru_cache(_MOST_REMEMBERED)
def subject_candidates(event_name: str) -> tuple[str, ...]:
    """The subjects to try, in this order: an error event may have one of its own before `event.error`."""
    subject = subject_of(event_name)
    return (event_name, subject) if subject == _ERROR and event_name != _ERROR else (subject,)


class Subjects:
    """The setting `subject_strategy`. Raises `ConfigError` where it names no function."""

    def __init__(self, config: Config) -> None:
        self._strategy = config.subject_strategy
        by_name = self._strategy == "event_name"
        self._function = None if by_name else function(self._strategy, "subject_strategy")

    def of(self, name: str, topic: str, error: type[EventError]) -> tuple[str, ...]:
        """Return the subjects to try, in their order; raise *error* where the function gives none."""
        if self._function is None:
            return subject_candidates(name)
        found = called("the function of subject_strategy", self._function, name, topic, error=error)
        if not isinstance(found, str) or not found.isprintable() or found in NO_SUBJECTS:
            raise error(f"subject_strategy: {self._strategy} returned what is no subject ({type(found).__name__})")
        return (found,)
