"""The figures of a run: as a table to read, and as JSON. Imports nothing of the package under test."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.checks.verdict import Verdict
from tests.chaos.evidence import Evidence

_SHOWN = 5


def is_good(verdicts: Sequence[Verdict]) -> bool:
    """Return whether no figure is off."""
    return not any(verdict.count for verdict in verdicts)


def report(evidence: Evidence, verdicts: Sequence[Verdict], run: dict[str, Any]) -> dict[str, Any]:
    """Return all of it as plain data; *run* says what was run."""
    return {
        **run,
        "good": is_good(verdicts),
        "events": len(evidence.sent),
        "events_by_kind": dict(Counter(one.kind for one in evidence.sent)),
        "events_per_s": round(events_per_s(evidence), 1),
        "runs": len(evidence.runs),
        "faults": dict(Counter(one.kind for one in evidence.incidents)),
        "figures": {
            verdict.name: {"off": verdict.count, **verdict.figures, "examples": verdict.examples}
            for verdict in verdicts
        },
    }


def write(path: Path, data: dict[str, Any]) -> None:
    """Write the report as JSON."""
    path.write_text(json.dumps(data, indent=2) + "\n")


def events_per_s(evidence: Evidence) -> float:
    """Return the events per second from the first event to the last commit."""
    began = min((one.at for one in evidence.sent), default=0.0)
    ended = max((one.at for one in evidence.commits), default=0.0)
    return len(evidence.sent) / (ended - began) if ended > began else 0.0


def table(data: dict[str, Any]) -> str:
    """Return the report for a terminal."""
    faults = ", ".join(f"{kind} {count}" for kind, count in sorted(data["faults"].items()))
    lines = [
        f"seed {data['seed']}: {data['delivery']}, {data['ordering']}; {data['events']:,} events, "
        f"{data['runs']:,} runs, {data['events_per_s']} events/s",
        f"{sum(data['faults'].values())} faults: {faults}",
        "",
    ]
    for name, figure in data["figures"].items():
        besides = ", ".join(f"{key} {value:,}" for key, value in figure.items() if key not in ("off", "examples"))
        lines.append(f"{'ok ' if not figure['off'] else 'BAD'} {name:36} {figure['off']:6,}   {besides}")
        lines += [f"      {line}" for line in figure["examples"][:_SHOWN]]
    return "\n".join(lines)
