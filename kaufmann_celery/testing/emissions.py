"""What was emitted, which of it a test has asked for, and what to say where that is not there."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import methodcaller
from pprint import pformat
from typing import Final

from kaufmann_celery.errors import EventError
from kaufmann_celery.event import Headers, Meta, Payload
from kaufmann_celery.testing.differences import differences

# A failing test shows its own lines, and not these: pytest reads the first, unittest the second.
__tracebackhide__ = methodcaller("errisinstance", AssertionError)
__unittest = True

#: In place of a payload: any will do.
ANY: Final = object()
#: Differences, and characters of a payload, that a message shows.
_MOST_DIFFERENCES = 20
_MOST_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Emitted:
    """One event that the service emitted, to one topic, decoded again from its record."""

    name: str
    payload: Payload
    meta: Meta = field(repr=False)
    topic: str
    #: The partition that the output asked for; None where `partition_strategy` decides.
    partition: int | None = None
    #: What follows `#` in the record key; None without.
    key: str | None = None
    headers: Headers = field(default=(), repr=False)


@dataclass(slots=True)
class Emissions:
    """All that was emitted, in its order. Each `then_event` takes one away from those after it."""

    #: Returns a payload as it would come back from its record, to compare it with one that did. May raise `EventError`.
    as_read: Callable[[Emitted, Payload], Payload] = lambda _, payload: payload
    all: list[Emitted] = field(default_factory=list)
    #: What happened to each event that was given, for messages.
    notes: list[str] = field(default_factory=list)
    _taken: set[int] = field(default_factory=set)

    def then_event(self, name: str, payload: Payload = ANY, *, topic: str | None = None, hint: str = "") -> Emitted:
        """Take the first event of *name* that has this *payload* and *topic*; raise `AssertionError` without.

        *hint* is for the message where none of that name was emitted.
        """
        named = [(at, one) for at, one in enumerate(self.all) if one.name == name and topic in (None, one.topic)]
        free = [(at, one) for at, one in named if at not in self._taken]
        for at, one in free:
            if payload is ANY or self._is_same(one, payload):
                self._taken.add(at)
                return one
        if free:
            raise AssertionError(self._other_payload([one for _, one in free], payload))
        where = "" if topic is None else f" to topic {topic}"
        if named:
            times = "once" if len(named) == 1 else f"{len(named)} times"
            what = f"{name} was emitted{where} {times} only, and a then_event before this one asked for it"
        else:
            what = f"{name} was not emitted{where}"
        raise AssertionError("\n".join([what, *([hint] if hint else []), *self._story()]))

    def then_no_event(self, name: str | None = None) -> None:
        """Raise `AssertionError` where an event (of *name*) was emitted that no `then_event` has asked for."""
        left = [one for at, one in enumerate(self.all) if at not in self._taken and name in (None, one.name)]
        if left:
            what = "no event was to be emitted" if name is None else f"{name} was not to be emitted"
            names = ", ".join(one.name for one in left)
            raise AssertionError("\n".join([f"{what}, but there is {names}", *self._story()]))

    def _is_same(self, emitted: Emitted, payload: Payload) -> bool:
        if not any(differences(payload, emitted.payload)):
            return True
        misfit, lines = self._compared(emitted, payload)
        return not misfit and not lines

    def _other_payload(self, found: Sequence[Emitted], payload: Payload) -> str:
        """Return what is wrong, beside that of *found* which differs least."""
        compared = [self._compared(one, payload) for one in found]
        misfit, lines = min(compared, key=lambda one: len(one[1]))
        more = [f"… and {len(lines) - _MOST_DIFFERENCES} more"] if len(lines) > _MOST_DIFFERENCES else []
        shown = [f"  {line}" for line in (*lines[:_MOST_DIFFERENCES], *more)]
        said = [f"the payload expected here cannot be written: {misfit}", *shown] if misfit else shown
        expected = ["", "Expected:", f"  {found[0].name}", _indented(payload)]
        return "\n".join([f"{found[0].name} was emitted with another payload", *said, *expected, *self._story()])

    def _compared(self, emitted: Emitted, payload: Payload) -> tuple[str, list[str]]:
        """Return why *payload* has no such event, if so, and where the two differ."""
        try:
            return "", list(differences(self.as_read(emitted, payload), emitted.payload))
        except EventError as error:
            return str(error), list(differences(payload, emitted.payload))

    def _story(self) -> list[str]:
        """Return the lines that say what was emitted, and what became of each event given."""
        emitted = [
            f"  {one.name} to {one.topic}{' (asked for before)' if at in self._taken else ''}\n{_indented(one.payload)}"
            for at, one in enumerate(self.all)
        ]
        given = [textwrap.indent(note, "  ") for note in self.notes]
        return ["", "Emitted:", *(emitted or ["  nothing"]), "", "Given:", *(given or ["  nothing"])]


def _indented(payload: Payload) -> str:
    text = pformat(payload, width=100, sort_dicts=False)
    if len(text) > _MOST_CHARACTERS:
        text = f"{text[:_MOST_CHARACTERS]} …"
    return textwrap.indent(text, "    ")
