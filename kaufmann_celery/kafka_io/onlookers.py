"""The hooks of `publish` where Kafka's answers come when they come: they look on until a whole round is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.kafka_io.rounds import Entry, records_of
from kaufmann_celery.middleware import Begun, Hooks, Middleware
from kaufmann_celery.outputs.producing import Answer


@dataclass(frozen=True, slots=True)
class _Round:
    entries: Sequence[Entry]
    begun: Begun
    answers: dict[Entry, Sequence[Answer]] = field(default_factory=dict)


class Onlookers:
    """Knows the rounds that are not answered yet. Costs nothing where there are no hooks."""

    def __init__(self, middleware: Sequence[Middleware]) -> None:
        self._hooks = Hooks(middleware, "publish")
        self._awaited: dict[Entry, _Round] = {}

    def begin(self, entries: Sequence[Entry]) -> None:
        """Have them look on from now on at what *entries* publish, if anything."""
        if self._hooks and (records := records_of(entries)):
            begun = _Round(entries, self._hooks.begin(records))
            self._awaited |= dict.fromkeys(entries, begun)

    def answered(self, entry: Entry, answers: Sequence[Answer]) -> None:
        """Show them what became of an event's records, once that is known of its whole round."""
        begun = self._awaited.pop(entry, None)
        if begun is not None:
            begun.answers[entry] = answers
            if len(begun.answers) == len(begun.entries):
                begun.begun.end([answer for one in begun.entries for answer in begun.answers[one]])

    def give_up(self, error: UnavailableError) -> None:
        """Show them why nobody awaits what is not answered yet."""
        for one in self._awaited.values():
            one.begun.end(error=error)
        self._awaited.clear()
