from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def kaufmann_app(monkeypatch: pytest.MonkeyPatch):
    # Its schemas are where the service runs, in `schemas`.
    monkeypatch.chdir(Path(__file__).parent)
    from service import kaufmann

    return kaufmann
