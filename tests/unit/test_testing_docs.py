"""The first screen of docs/testing.md is run as it stands there, on the README's service, and says what it shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def blocks(document: str, language: str) -> list[str]:
    text = (ROOT / document).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the tests in the document."""
    directory = tmp_path_factory.mktemp("service")
    (directory / "service.py").write_text(blocks("README.md", "python")[0])
    (directory / "schemas").mkdir()
    names = re.findall(r"`(schemas/[a-z.]+\.avsc)`", (ROOT / "README.md").read_text())
    for name, schema in zip(names, blocks("README.md", "json"), strict=True):
        (directory / name).write_text(schema)
    for block in blocks("docs/testing.md", "python"):
        if named := re.match(r"# (\w+\.py)\n", block):
            (directory / named[1]).write_text(block)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False).stdout


def test_the_first_test_passes_and_the_wrong_one_fails(printed: str) -> None:
    assert "1 failed, 1 passed" in printed
    assert "test_wrong.py" in printed


def test_a_failure_reads_as_the_document_says(printed: str) -> None:
    said = [line[1:].strip() for line in printed.splitlines() if line.startswith("E ")]
    (shown,) = blocks("docs/testing.md", "text")

    assert said == [line.strip() for line in shown.splitlines()]
