"""What a check says, and what all checks look up. Imports nothing of the package under test."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property

from tests.chaos.evidence import Evidence, Place, Published, Sent
from tests.chaos.journal import Run

#: How many outputs an event of each kind asks for; the others end in an error event, or in nothing at all.
OUTPUTS = {"plain": 1, "silent": 0, "pair": 2, "flaky": 1}
#: How often the handler of a kind is run again after a failure.
RETRIES = {"flaky": 5, "exhausted": 1}
_MOST_EXAMPLES = 20


@dataclass
class Verdict:
    """One figure of the report: how much is off, and what was seen besides."""

    name: str
    #: What is wrong, one line each.
    wrong: list[str] = field(default_factory=list)
    #: Figures that are not wrong by themselves.
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How often it is off."""
        return len(self.wrong)

    @property
    def examples(self) -> list[str]:
        """The first of what is wrong."""
        return self.wrong[:_MOST_EXAMPLES]

    def add(self, line: str) -> None:
        """Note that something is wrong."""
        self.wrong.append(line)

    def count_in(self, figure: str, by: float = 1) -> None:
        """Add to a figure."""
        self.figures[figure] = self.figures.get(figure, 0) + by


class Index:
    """The evidence, event by event."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence

    @cached_property
    def sent(self) -> dict[Place, Sent]:
        """Every event."""
        return {(one.partition, one.offset): one for one in self.evidence.sent}

    @cached_property
    def runs(self) -> dict[Place, list[Run]]:
        """The runs of each event, in the order in which they began."""
        found: dict[Place, list[Run]] = defaultdict(list)
        for run in sorted(self.evidence.runs, key=lambda run: run.started):
            found[run.partition, run.offset].append(run)
        return found

    @cached_property
    def published(self) -> dict[Place, dict[int, list[Published]]]:
        """What was published of each event: index -> copies, the first first."""
        found: dict[Place, dict[int, list[Published]]] = defaultdict(lambda: defaultdict(list))
        for one in sorted(self.evidence.published, key=lambda one: one.at):
            found[one.partition, one.offset][one.index].append(one)
        return found

    @cached_property
    def finished_at(self) -> dict[Place, float]:
        """When each event came to its end, as what it published says, or its journal where it publishes nothing."""
        ends = ((place, self._end_of(place, sent)) for place, sent in self.sent.items())
        return {place: end for place, end in ends if end is not None}

    def _end_of(self, place: Place, sent: Sent) -> float | None:
        published = self.published.get(place, {})
        if -1 in published:
            return published[-1][0].at
        if sent.kind == "unwanted":
            return sent.at
        if sent.kind not in OUTPUTS:
            return None
        if sent.kind == "silent":
            return min(
                (run.ended for run in self.runs.get(place, ()) if run.status == "ok" and run.ended), default=None
            )
        firsts = [published[index][0].at for index in range(OUTPUTS[sent.kind]) if index in published]
        return max(firsts) if len(firsts) == OUTPUTS[sent.kind] else None


def name_of(place: Place) -> str:
    """Return an event's place as it is written everywhere."""
    return f"{place[0]}:{place[1]}"
