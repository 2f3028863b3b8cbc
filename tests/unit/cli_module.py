"""A service's module for the commands to find, in a directory of its own."""

from __future__ import annotations

import sys
import textwrap
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class ServiceModule:
    """Writes modules into *directory*, which is also the working directory; each has a name of its own."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch

    def __post_init__(self) -> None:
        self.monkeypatch.chdir(self.directory)
        self.monkeypatch.syspath_prepend(self.directory)

    def write(self, source: str) -> str:
        """Write a module and return its name."""
        name = f"service_{uuid.uuid4().hex[:8]}"
        (self.directory / f"{name}.py").write_text(textwrap.dedent(source).lstrip("\n"))
        # Forgotten again at the end, with whatever Celery has imported.
        self.monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
        return name
