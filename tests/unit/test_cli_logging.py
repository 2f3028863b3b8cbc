"""Of kafka-python's log users see what they can act on, once; its chatter only where they ask for DEBUG."""

from __future__ import annotations

import subprocess
import sys

import pytest

LINES = """
import logging
from kaufmann_celery.cli.service import log_to_stderr
log_to_stderr({level!r})
for _ in range(20):
    logging.getLogger("kafka.cluster").error("Topic orders not found in cluster metadata")
    logging.getLogger("kafka.net.manager").error("Connection failed: ECONNREFUSED")
    logging.getLogger("kafka.net.connection").error("Connection lost: %s", "ECONNREFUSED")
    logging.getLogger("kafka.net.connection").error("Connection lost: %s", "certificate verify failed")
    logging.getLogger("kafka.net.selector").warning("Task ran for 0.123s")
    logging.getLogger("kafka.consumer.fetcher").warning("Truncation detected")
"""


def logged(level: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LINES.format(level=level)], capture_output=True, text=True, timeout=60, check=True
    )
    return [line.partition(": ")[2] for line in done.stderr.splitlines()]


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_each_reason_is_there_once_and_no_chatter(level: str) -> None:
    lines = logged(level)

    assert [line for line in lines if "Connection" in line] == [
        "Connection lost: ECONNREFUSED",
        "Connection lost: certificate verify failed",
    ]
    assert lines.count("Truncation detected") == 20
    assert len(lines) == 22


def test_debug_shows_all() -> None:
    assert len(logged("DEBUG")) == 120
