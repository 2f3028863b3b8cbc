"""The results as tables in Markdown, which a terminal shows just as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.plan import ARRIVALS, LATENCY
from benchmarks.results import Results
from benchmarks.targets import TARGETS, efficiency


def tables(results: Results, titles: Mapping[str, str], handlers: Sequence[str]) -> str:
    """Return all of them: events a second, efficiency, targets."""
    about = results.about
    head = f"commit {about['commit']}, {about['cores']} cores, {about['system']}, Python {about['python']}"
    parts = [head, rates(results, titles, handlers), efficiencies(results, titles, handlers), targets(results)]
    return "\n\n".join(part for part in parts if part)


def rates(results: Results, titles: Mapping[str, str], handlers: Sequence[str]) -> str:
    """Return events a second: the median of the runs, and the lowest and highest where there are several."""
    head = ["Events a second, handler of", *handlers, "beside a task per event"]
    rows = []
    for name, title in titles.items():
        found = [results.found(name, handler) for handler in handlers]
        if any(found):
            rows.append([title, *(spread(one) for one in found), _times(results, name, handlers[0])])
    return markdown(head, rows)


def efficiencies(results: Results, titles: Mapping[str, str], handlers: Sequence[str]) -> str:
    """Return the share of what the handler alone would allow."""
    timed = [one for one in handlers if any(efficiency(results, name, one) is not None for name in titles)]
    rows = []
    for name, title in titles.items():
        found = [efficiency(results, name, handler) for handler in timed]
        if any(one is not None for one in found):
            rows.append([title, *("" if one is None else f"{one:.1%}" for one in found)])
    return markdown(["Efficiency, handler of", *timed], rows) if rows else ""


def targets(results: Results) -> str:
    """Return each target, what was reached, and how much of it that is."""
    shares = [target.share(results) for target in TARGETS]
    rows = [
        [target.what, target.shown_bound(), target.shown(results), "" if share is None else f"{share:.0%}"]
        for target, share in zip(TARGETS, shares, strict=True)
    ]
    found = [(case, [results.median(LATENCY, case, f"p{cut}_ms") for cut in ("50", "99", "99.9")]) for case in ARRIVALS]
    notes = [
        f"\n\nFrom send to handler, {case}: half of them within {half:.1f} ms, 99 % {most:.1f}, 99.9 % {tail:.1f}."
        for case, (half, most, tail) in found
        if half is not None
    ]
    return markdown(["", "Target", "Reached", "Of the target"], rows) + "".join(notes)


def spread(found: Sequence[float]) -> str:
    """Return the median, with the lowest and highest of several."""
    if not found:
        return ""
    ordered = sorted(found)
    middle = f"{(ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2:,.0f}"
    return middle if len(ordered) == 1 else f"{middle} ({ordered[0]:,.0f} to {ordered[-1]:,.0f})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose columns are as wide as their widest cell."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def _times(results: Results, name: str, handler: str) -> str:
    found, naive = results.median(name, handler), results.median("naive", handler)
    return f"{found / naive:.1f}" if found and naive else ""
