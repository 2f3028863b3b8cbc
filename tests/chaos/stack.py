"""The services under chaos: real Kafka, Redis and registry, each to be killed, frozen and started again by itself.

Clients under test reach Kafka and Redis through proxies; whoever looks on goes past these.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from kaufmann_celery.local import guard, pidfiles, ports, process
from kaufmann_celery.local.maven import Progress
from kaufmann_celery.local.process import ProcessRecord
from kaufmann_celery.local.services import Kafka, Launch, Redis, Registry, Service
from kaufmann_celery.local.starting import Start, start_together
from tests.chaos.proxy import Proxy

#: The listener that the processes under test use is advertised as the proxy's port. The last of each line counts.
_THROUGH_PROXY = """
listeners=PLAINTEXT://{host}:{broker},CLIENTS://{host}:{clients},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{broker},CLIENTS://{host}:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT
"""


class ProxiedKafka(Kafka):
    """Kafka with a further listener, whose advertised address is a proxy's."""

    port_names: ClassVar[tuple[str, ...]] = (*Kafka.port_names, "clients", "proxy")

    def prepare(self, port: Mapping[str, int], progress: Progress) -> Launch:
        launch = super().prepare(port, progress)
        with (self.directory / "server.properties").open("a") as properties:
            properties.write(_THROUGH_PROXY.format(host=ports.HOST, **port))
        return launch


class ProxiedRedis(Redis):
    """Redis, and a port for the proxy before it."""

    port_names: ClassVar[tuple[str, ...]] = (*Redis.port_names, "proxy")


class ChaosStack:
    """Use in a `with` block. What runs ends with this process, even when that is killed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        kinds: tuple[type[Service], ...] = (ProxiedKafka, ProxiedRedis, Registry)
        self._services = {kind.name: kind(directory / kind.name) for kind in kinds}
        self.ports: dict[str, dict[str, int]] = {}
        taken: set[int] = set()
        for name, service in self._services.items():
            service.directory.mkdir(parents=True)
            self.ports[name] = {}
            for port in service.port_names:
                self.ports[name][port] = chosen = ports.choose(taken)
                taken.add(chosen)
        started = process.start_time(os.getpid())
        assert started is not None
        self._owner = ProcessRecord(os.getpid(), started)

    def __enter__(self) -> ChaosStack:
        guard.start(self.directory, self._owner)
        try:
            self.start(*self._services)
            self.redis_proxy = Proxy(self.ports["redis"]["proxy"], self.ports["redis"]["port"])
            self.kafka_proxy = Proxy(self.ports["kafka"]["proxy"], self.ports["kafka"]["clients"])
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.redis_proxy.stop()
        self.kafka_proxy.stop()
        self._stop()
        for service in self._services.values():
            shutil.rmtree(service.directory / "data", ignore_errors=True)

    @property
    def brokers(self) -> str:
        """Kafka, past the proxy."""
        return f"{ports.HOST}:{self.ports['kafka']['broker']}"

    @property
    def kafka_data(self) -> Path:
        """Where Kafka keeps its partitions."""
        return self._services["kafka"].directory / "data"

    @property
    def redis_port(self) -> int:
        """Redis, past the proxy."""
        return self.ports["redis"]["port"]

    @property
    def registry_url(self) -> str:
        """The schema registry."""
        return self._services["registry"].address(self.ports["registry"])

    def settings(self) -> dict[str, str]:
        """Return the environment by which the processes under test reach the services."""
        kafka, redis = (f"{ports.HOST}:{self.ports[name]['proxy']}" for name in ("kafka", "redis"))
        return {
            "KAUFMANN_BROKERS": kafka,
            "KAUFMANN_REDIS_URL": f"redis://{redis}/0",
            "KAUFMANN_SCHEMA_REGISTRY_URL": self.registry_url,
        }

    def guards(self, name: str, pid: int) -> None:
        """Have process *pid* end with this one, too."""
        path = pidfiles.service_path(self.directory, name)
        path.parent.mkdir(exist_ok=True)
        pidfiles.record_start(path, pid, guard.owner_key(self._owner))

    def start(self, *names: str) -> None:
        """Start services and wait until they answer."""
        owner = guard.owner_key(self._owner)
        start_together(
            [
                Start(
                    self._services[name],
                    self.ports[name],
                    pidfiles.service_path(self.directory, name),
                    owner,
                    needed=True,
                )
                for name in names
            ],
            lambda _: None,
        )

    def kill(self, name: str) -> None:
        """Kill a service and wait until it has ended."""
        record = self._record(name)
        os.kill(record.pid, signal.SIGKILL)
        while record.alive:
            time.sleep(0.01)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Have a service stand still for the length of the block."""
        pid = self._record(name).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def redis_log(self) -> Path | None:
        """Return Redis' append-only file of this moment."""
        found = (self._services["redis"].directory / "data" / "appendonlydir").glob("*.incr.aof")
        return max(found, key=lambda path: int(path.name.split(".")[-3]), default=None)

    def empty_redis(self) -> None:
        """Delete what a Redis that was killed has on disk."""
        shutil.rmtree(self._services["redis"].directory / "data")

    def _record(self, name: str) -> ProcessRecord:
        record = ProcessRecord.read(pidfiles.service_path(self.directory, name))
        assert record is not None, name
        return record

    def _stop(self) -> None:
        pidfiles.end_services(pidfiles.services(self.directory).values())
        pidfiles.end_guards(self.directory)
