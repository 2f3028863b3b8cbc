"""docs/protocol/README.md names a test for each of the protocol's rules."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (\d+) \| [^|]+ \| (`\w+::.+`) \|$", (ROOT / "docs/protocol/README.md").read_text(), re.M)


def test_each_rule_has_one() -> None:
    assert {int(rule) for rule, _ in ROWS} == set(range(1, 21))


@pytest.mark.parametrize("named", sorted({named for _, tests in ROWS for named in re.findall(r"\w+::\w+", tests)}))
def test_it_is_there(named: str) -> None:
    module, _, test = named.partition("::")
    (found,) = (ROOT / "tests").glob(f"*/test_{module}.py")

    assert f"def {test}(" in found.read_text()
