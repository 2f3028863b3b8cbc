"""A real RabbitMQ on loopback, with an Erlang port mapper of its own; data in a directory, ended by process group."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import amqp
import pytest

from tests.integration.free_ports import free_ports
from tests.integration.service_process import eventually

#: Debian's command of that name insists on a user of its own; this is what it runs.
_PROGRAM = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_START_S = 120.0


class RabbitMQ:
    """One broker. It keeps its queues over a restart."""

    def __init__(self, directory: Path, program: Path, epmd: str) -> None:
        self._directory = directory
        self._program = program
        self.port, distribution, epmd_port = free_ports(3)
        self._env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": str(directory),  # Erlang's cookie
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none",
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
        }
        # As Erlang's would be one for all of the machine, and stay.
        self._epmd = subprocess.Popen([epmd, "-port", str(epmd_port), "-address", "127.0.0.1"], env=self._env)
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._directory / "out.log").open("ab") as log:
            self._server = subprocess.Popen(
                [str(self._program)], env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        server = self._server
        eventually(self._answers, "RabbitMQ answers", _START_S, lambda: server.poll() is not None)

    def kill(self) -> None:
        """End it as a crash does."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait(30)
            self._server = None

    @contextmanager
    def dead(self) -> Iterator[None]:
        """Kill it for the length of the block."""
        self.kill()
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        """End it and its port mapper."""
        self.kill()
        self._epmd.kill()
        self._epmd.wait(10)

    @contextmanager
    def channel(self) -> Iterator[amqp.Channel]:
        """Connect as a bystander."""
        with amqp.Connection(f"127.0.0.1:{self.port}", "guest", "guest") as connection:
            yield connection.channel()

    def _answers(self) -> bool:
        try:
            with self.channel():
                return True
        except (OSError, amqp.AMQPError):
            return False


@contextmanager
def rabbitmq(directory: Path) -> Iterator[RabbitMQ]:
    """Run one for the length of the block. Missing: skip on a laptop, fail in CI."""
    epmd = shutil.which("epmd")
    if epmd is None or not _PROGRAM.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no rabbitmq-server here")
    directory.mkdir(parents=True)
    one = RabbitMQ(directory, _PROGRAM, epmd)
    try:
        one.start()
        yield one
    finally:
        one.close()
