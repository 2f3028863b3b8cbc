"""The three services: how each is configured, started and asked whether it is ready."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import struct
import subprocess
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import downloads, ports
from kaufmann_celery.local.maven import Progress

# Tuned to start fast; the last one silences Java 25's warning about what Kafka's libraries do.
_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "--sun-misc-unsafe-memory-access=allow")
_PROBE_S = 5.0
# Variables that would reconfigure a service behind the stack's back.
_FOREIGN = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH", "APICURIO_", "REGISTRY_", "QUARKUS_")

# Paths are relative to the service's own directory, its working directory: any stack directory will do,
# whatever characters are in its name. A killed Kafka is let in again only when its old session has expired:
# 3 s instead of 9 bring it back in 6 s instead of 13.
_KAFKA_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
listeners=PLAINTEXT://{host}:{broker},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=data
auto.create.topics.enable=true
delete.topic.enable=true
num.partitions=4
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.cleaner.dedupe.buffer.size=8388608
num.network.threads=2
num.io.threads=4
"""


# Kafka's own protocol, so that waiting needs no client: Metadata (key 3, version 1), correlation 0, no client
# id, no topics.
_METADATA = struct.pack(">hhihi", 3, 1, 0, -1, 0)
_METADATA_REQUEST = struct.pack(">i", len(_METADATA)) + _METADATA


@dataclass(frozen=True)
class Launch:
    """What to run for a service."""

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)


class Service(ABC):
    """One service of the stack, with everything it owns in *directory*."""

    name: ClassVar[str]
    #: The setting that tells the application where the service is.
    setting: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / f"{self.name}.log"

    @abstractmethod
    def prepare(self, port: Mapping[str, int], progress: Progress) -> Launch:
        """Download and configure what is missing; return what to run. Blocks."""

    @abstractmethod
    def ready(self, port: Mapping[str, int]) -> bool:
        """Whether it answers. Blocks for a few seconds at most."""

    @abstractmethod
    def address(self, port: Mapping[str, int]) -> str:
        """Return the value of its setting."""


class Kafka(Service):
    """Apache Kafka, one node that is broker and controller."""

    name = "kafka"
    setting = "KAUFMANN_BROKERS"
    port_names: ClassVar[tuple[str, ...]] = ("broker", "controller")

    def prepare(self, port: Mapping[str, int], progress: Progress) -> Launch:
        """Format the data directory the first time."""
        java = [str(downloads.java()), *_JAVA, "-cp", downloads.kafka_classpath(progress), *_log_options()]
        properties = self.directory / "server.properties"
        properties.write_text(_KAFKA_PROPERTIES.format(host=ports.HOST, **port))
        if not (self.directory / "data" / "meta.properties").exists():
            self._format(java)
        return Launch([*java, "-Xmx512m", "kafka.Kafka", properties.name], environment())

    def _format(self, java: list[str]) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = ["format", f"--cluster-id={cluster_id}", "-c", "server.properties", "--ignore-formatted"]
        done = subprocess.run(
            [*java, "kafka.tools.StorageTool", *arguments],
            cwd=self.directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalStackError(f"kafka could not format its data directory:\n{done.stdout}{done.stderr}")

    def ready(self, port: Mapping[str, int]) -> bool:
        """Whether it lists a broker."""
        with (
            suppress(OSError, struct.error),
            socket.create_connection((ports.HOST, port["broker"]), _PROBE_S) as connection,
        ):
            connection.sendall(_METADATA_REQUEST)
            # Connections are accepted before the broker is known to its controller: ask for the brokers.
            brokers: int = struct.unpack(">iii", connection.recv(12, socket.MSG_WAITALL))[2]
            return brokers == 1
        return False

    def address(self, port: Mapping[str, int]) -> str:
        """Return `host:port`."""
        return f"{ports.HOST}:{port['broker']}"


class Redis(Service):
    """Valkey, which speaks Redis's protocol, with its data on disk."""

    name = "redis"
    setting = "KAUFMANN_REDIS_URL"
    port_names: ClassVar[tuple[str, ...]] = ("port",)

    def prepare(self, port: Mapping[str, int], progress: Progress) -> Launch:  # noqa: ARG002 - the base's
        """Its append-only file keeps the data across restarts."""
        (self.directory / "data").mkdir(exist_ok=True)
        options = {
            "bind": ports.HOST,
            "port": str(port["port"]),
            "dir": "data",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        flags = [text for name, value in options.items() for text in (f"--{name}", value)]
        return Launch([str(downloads.valkey()), *flags], environment())

    def ready(self, port: Mapping[str, int]) -> bool:
        """Whether it answers a ping."""
        with suppress(OSError), socket.create_connection((ports.HOST, port["port"]), _PROBE_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # while it loads its data it says -LOADING
        return False

    def address(self, port: Mapping[str, int]) -> str:
        """Return the URL of database 0."""
        return f"redis://{ports.HOST}:{port['port']}/0"


class Registry(Service):
    """Apicurio Registry, which speaks the Confluent registry's protocol, with its schemas on disk."""

    name = "registry"
    setting = "KAUFMANN_SCHEMA_REGISTRY_URL"
    port_names: ClassVar[tuple[str, ...]] = ("http", "management")

    def prepare(self, port: Mapping[str, int], progress: Progress) -> Launch:
        """Its schemas are in an H2 file."""
        jar = downloads.registry_directory(progress) / "quarkus-run.jar"
        settings = {
            "APICURIO_STORAGE_KIND": "sql",
            "APICURIO_STORAGE_SQL_KIND": "h2",
            "APICURIO_DATASOURCE_URL": "jdbc:h2:file:./data/registry",
            "QUARKUS_HTTP_ACCESS_LOG_ENABLED": "false",
            "QUARKUS_HTTP_HOST": ports.HOST,
            "QUARKUS_HTTP_PORT": str(port["http"]),
            "QUARKUS_MANAGEMENT_HOST": ports.HOST,
            "QUARKUS_MANAGEMENT_PORT": str(port["management"]),
        }
        return Launch([str(downloads.java()), *_JAVA, "-Xmx384m", "-jar", str(jar)], environment() | settings)

    def ready(self, port: Mapping[str, int]) -> bool:
        """Whether it lists its subjects."""
        connection = http.client.HTTPConnection(ports.HOST, port["http"], timeout=_PROBE_S)
        with suppress(OSError, http.client.HTTPException), closing(connection):
            connection.request("GET", "/apis/ccompat/v7/subjects")
            return connection.getresponse().status == http.HTTPStatus.OK
        return False

    def address(self, port: Mapping[str, int]) -> str:
        """Return the URL of the API."""
        return f"http://{ports.HOST}:{port['http']}/apis/ccompat/v7"


SERVICES: tuple[type[Service], ...] = (Kafka, Redis, Registry)


def environment() -> dict[str, str]:
    """Return this process's environment without what would change how a service runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def _log_options() -> list[str]:
    logger = "-Dorg.slf4j.simpleLogger"
    return [
        f"{logger}.defaultLogLevel=warn",
        f"{logger}.showDateTime=true",
        f"{logger}.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
        f"{logger}.log.kafka.server.KafkaRaftServer=info",
    ]
