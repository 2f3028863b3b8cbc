"""The results as a picture: events a second with a handler that does nothing, and efficiency with those that do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.results import Results
from benchmarks.targets import efficiency

_OURS = ("defaults", "ours", "answers", "exactly_once", "by_key", "failing")
_BLUE, _GREY = "#1f6fb4", "#9aa3ab"


def plot(results: Results, titles: Mapping[str, str], handlers: Sequence[str], file: Path) -> None:
    """Write the picture."""
    # Here, not above: only the environment of `make bench` has it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), width_ratios=(3, 2), layout="constrained")
    _rates(left, results, titles, handlers[0])
    _efficiencies(right, results, titles, handlers[1:])
    about = results.about
    figure.suptitle(f"kaufmann-celery {about['commit']}, {about['cores']} cores with everything on them", fontsize=10)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _rates(axes: Any, results: Results, titles: Mapping[str, str], handler: str) -> None:
    names = [name for name in reversed(list(titles)) if results.found(name, handler)]
    found = [results.found(name, handler) for name in names]
    medians = [results.median(name, handler) or 0 for name in names]
    errors = [
        [median - min(one) for median, one in zip(medians, found, strict=True)],
        [max(one) - median for median, one in zip(medians, found, strict=True)],
    ]
    bars = axes.barh(
        [titles[name].replace("`", "") for name in names], medians, xerr=errors, capsize=2, height=0.7,
        color=[_BLUE if name in _OURS else _GREY for name in names],
    )  # fmt: skip
    axes.bar_label(bars, [f" {median:,.0f}" for median in medians], fontsize=8, padding=3)
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.set_title("events a second, the handler does nothing (log scale)", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _efficiencies(axes: Any, results: Results, titles: Mapping[str, str], handlers: Sequence[str]) -> None:
    for name in titles:
        found = [(handler, efficiency(results, name, handler)) for handler in handlers]
        points = [(handler, share) for handler, share in found if share is not None]
        if not points or name == "bare":
            continue
        axes.plot(
            [handler for handler, _ in points], [100 * share for _, share in points], marker="o", markersize=4,
            label=titles[name].replace("`", ""), linewidth=1.6 if name in _OURS else 1.0,
            linestyle="-" if name in _OURS else "--",
        )  # fmt: skip
    axes.set_ylim(0, 105)
    axes.set_title("% of what the handler alone would allow", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=7, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
