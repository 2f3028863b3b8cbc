"""What is to be reached, and what was: ratios between runs of one benchmark, as only these mean much elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.handling import HANDLERS
from benchmarks.results import Results

#: A contestant, or what else is measured, and its case.
Kind = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure of the results, and its bound."""

    what: str
    bound: float
    figure: Callable[[Results], float | None]
    #: The runs that it is made of.
    needs: tuple[Kind, ...]
    unit: str = " x"
    is_most: bool = False

    def shown_bound(self) -> str:
        """Return the bound as text."""
        return f"{'<' if self.is_most else '≥'} {self._text(self.bound)}"

    def shown(self, results: Results) -> str:
        """Return what was reached as text."""
        found = self.figure(results)
        return "not measured" if found is None else self._text(found)

    def share(self, results: Results) -> float | None:
        """Return how much of the target is reached: 1 and more is all of it."""
        found = self.figure(results)
        if not found:
            return None
        return self.bound / found if self.is_most else found / self.bound

    def _text(self, figure: float) -> str:
        if self.unit == "%":
            return f"{figure:.1%}".replace(".0%", "%")
        return f"{figure:,.0f}{self.unit}" if figure >= 100 else f"{figure:.3g}{self.unit}"


def efficiency(results: Results, contestant: str, handler: str) -> float | None:
    """Return the events a second beside those that the handler alone would allow; None where it takes no time."""
    found, most = results.median(contestant, handler), HANDLERS[handler].most_per_s
    return None if found is None or most == float("inf") else found / most


def _ratio(what: str, one: Kind, other: Kind, least: float) -> Target:
    def figure(results: Results) -> float | None:
        found, beside = results.median(*one), results.median(*other)
        return found / beside if found and beside else None

    return Target(what, least, figure, (one, other))


def _efficiency(what: str, handler: str, least: float) -> Target:
    return Target(what, least, lambda results: efficiency(results, "ours", handler), (("ours", handler),), unit="%")


def _most(what: str, kind: Kind, figure: str, most: float, unit: str) -> Target:
    return Target(what, most, lambda results: results.median(*kind, figure), (kind,), unit=unit, is_most=True)


_IDLE = ("latency", "idle")
_BEHIND = ("backlog", "2,000,000")

TARGETS = (
    _ratio("no-op, `max_demand` 2,000, beside a task per event", ("ours", "0 ms"), ("naive", "0 ms"), 40),
    _ratio("no-op, `max_demand` 2,000, beside the bare loop", ("ours", "0 ms"), ("bare", "0 ms"), 0.35),
    _ratio("no-op, defaults, beside a task per event", ("defaults", "0 ms"), ("naive", "0 ms"), 8),
    _ratio("an output each, beside a task per event with one", ("answers", "0 ms"), ("naive_answers", "0 ms"), 12),
    _ratio("exactly once, beside at least once", ("exactly_once", "0 ms"), ("answers", "0 ms"), 0.6),
    _ratio('`ordering="key"`, beside unordered', ("by_key", "0 ms"), ("ours", "0 ms"), 0.8),
    _ratio("half of the events fail, beside none", ("failing", "0 ms"), ("ours", "0 ms"), 0.5),
    _ratio("the same, handler of 1 ms", ("failing", "1 ms"), ("ours", "1 ms"), 1),
    _ratio("the same, handler of 10 ms", ("failing", "10 ms"), ("ours", "10 ms"), 1),
    _efficiency("efficiency, handler of 10 ms, 8 processes", "10 ms", 0.9),
    _efficiency("efficiency, handler of 100 ms, 8 processes", "100 ms", 0.97),
    _most("from send to handler, idle, half within", _IDLE, "p50_ms", 15, " ms"),
    _most("99 % within", _IDLE, "p99_ms", 50, " ms"),
    _most("ingester's memory, 2,000,000 behind (`make bench-scaling`)", _BEHIND, "ingester_mb", 150, " MB"),
)
