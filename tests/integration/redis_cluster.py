"""A real Redis Cluster of three nodes on loopback, each a process of its own with its data."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.free_ports import free_ports
from tests.integration.service_process import eventually

_NODES = 3
_SLOTS = 16384
_START_S = 60.0


@dataclass
class Node:
    """One of them."""

    program: str
    directory: Path
    port: int
    bus_port: int
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        options = {
            "port": self.port,
            "cluster-port": self.bus_port,
            "bind": "127.0.0.1",
            "dir": self.directory,
            "logfile": "redis.log",
            "save": "",
            "appendonly": "yes",
            "cluster-enabled": "yes",
            "cluster-node-timeout": 2000,
        }
        flags = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([self.program, *flags])

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def ask(self, *command: object) -> Any:
        with redis.Redis("127.0.0.1", self.port, socket_timeout=5) as client:
            return client.execute_command(*command)

    def is_ok(self) -> bool:
        try:
            return re.search(r"cluster_state\W+ok", str(self.ask("CLUSTER", "INFO"))) is not None
        except redis.RedisError:
            return False


@dataclass
class Cluster:
    """All of them."""

    nodes: list[Node] = field(default_factory=list)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def is_ok(self) -> bool:
        return all(node.is_ok() for node in self.nodes)

    @contextmanager
    def dead(self, number: int) -> Iterator[None]:
        """Kill a node for the length of the block; it keeps its data."""
        self.nodes[number].kill()
        try:
            yield
        finally:
            self.nodes[number].start()
            eventually(self.is_ok, "the cluster is whole", _START_S)


@contextmanager
def redis_cluster() -> Iterator[Cluster]:
    """Run one for the length of the block. Missing: skip on a laptop, fail in CI."""
    program = shutil.which("redis-server")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no redis-server on the PATH")
    with tempfile.TemporaryDirectory() as directory:
        cluster = Cluster()
        ports = iter(free_ports(2 * _NODES))
        for number in range(_NODES):
            place = Path(directory) / str(number)
            place.mkdir()
            cluster.nodes.append(Node(program, place, next(ports), next(ports)))
        try:
            for node in cluster.nodes:
                node.start()
            eventually(lambda: all(_answers(node) for node in cluster.nodes), "the nodes answer", _START_S)
            _join(cluster)
            yield cluster
        finally:
            for node in cluster.nodes:
                node.kill()


def _join(cluster: Cluster) -> None:
    first, *others = cluster.nodes
    for number, node in enumerate(cluster.nodes):
        begin, end = (_SLOTS * at // _NODES for at in (number, number + 1))
        node.ask("CLUSTER", "ADDSLOTSRANGE", begin, end - 1)
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node in others:
        first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
    eventually(cluster.is_ok, "the cluster is whole", _START_S)


def _answers(node: Node) -> bool:
    try:
        return bool(node.ask("PING"))
    except redis.RedisError:
        return False
