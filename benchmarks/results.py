"""The JSON file of a commit's runs. Each is written as it ends, and one that is there is not made again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = (
    "celery", "redis", "kafka-python", "fastavro", "confluent-kafka", "aiokafka", "faststream", "quixstreams",
    "sentry-arroyo",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to make: who, with which handler (or which other case), for the how manieth time."""

    contestant: str
    case: str
    round: int

    @property
    def topic(self) -> str:
        """Return the name of its topic."""
        return re.sub("[^a-z0-9]+", "-", f"{self.contestant}-{self.case}-{self.round}")


class Results:
    """What is known so far. *file* need not exist; *about* goes into it."""

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        self._file = file
        self._runs: dict[Planned, dict[str, float]] = {}
        self.about = dict(about)
        if file.exists():
            found = json.loads(file.read_text())
            self.about = found["about"]
            self._runs = {Planned(**one["run"]): one["figures"] for one in found["runs"]}

    def __contains__(self, planned: Planned) -> bool:
        return planned in self._runs

    def add(self, planned: Planned, figures: Mapping[str, float]) -> None:
        """Note a run's *figures*, on disk."""
        self._runs[planned] = dict(figures)
        data = {
            "about": self.about,
            "runs": [{"run": asdict(run), "figures": figures} for run, figures in self._runs.items()],
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(json.dumps(data, indent=1) + "\n")
        unfinished.replace(self._file)

    def found(self, contestant: str, case: str, figure: str = "per_s") -> list[float]:
        """Return a *figure* of all the runs of one kind."""
        kind = (contestant, case)
        return [figures[figure] for run, figures in self._runs.items() if (run.contestant, run.case) == kind]

    def median(self, contestant: str, case: str, figure: str = "per_s") -> float | None:
        """Return the median of `found`; None where there is no such run."""
        found = self.found(contestant, case, figure)
        return statistics.median(found) if found else None

    def cases(self, contestant: str) -> list[str]:
        """Return the cases that *contestant* has runs of, in their order in the file."""
        return list(dict.fromkeys(run.case for run in self._runs if run.contestant == contestant))


def results_of_commit(directory: Path, suffix: str = "") -> Results:
    """Return the results of the commit that is checked out; with changes to it, of exactly these changes.

    Ends the program where they were measured with other versions of the libraries.
    """
    commit = _commit()
    about = {
        "commit": commit,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
    }
    file = directory / f"{commit}{suffix}.json"
    results = Results(file, about)
    if results.about["versions"] != about["versions"]:
        raise SystemExit(f"{file} was measured with other versions of the libraries: move it away, or delete it")
    return results


def _commit() -> str:
    def git(*words: str) -> bytes:
        return subprocess.run(["git", *words], capture_output=True, check=True).stdout

    try:
        changes = git("diff", "HEAD")
        short = git("rev-parse", "--short", "HEAD").decode().strip()
    except (subprocess.CalledProcessError, FileNotFoundError):
        return "no-commit"
    return f"{short}+{hashlib.sha256(changes).hexdigest()[:7]}" if changes else short


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
