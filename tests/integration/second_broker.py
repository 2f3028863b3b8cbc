"""A second broker for a Kafka of a test's own, to lead topics that come and go while the rest stays."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import InvalidReplicationAssignmentError

from kaufmann_celery.local import downloads
from kaufmann_celery.local.services import environment
from tests.integration.free_ports import free_ports
from tests.integration.service_process import eventually

_ID = 2


class SecondBroker:
    """Joins the Kafka in *first*, its directory, at *brokers*; has its own in *directory*. Use in a `with` block."""

    def __init__(self, first: Path, brokers: str, directory: Path) -> None:
        self._brokers = brokers
        self._directory = directory
        (port,) = free_ports(1)
        properties = (first / "server.properties").read_text()
        for name, value in {
            "process.roles": "broker",
            "node.id": str(_ID),
            "listeners": f"PLAINTEXT://127.0.0.1:{port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        }.items():
            properties = re.sub(rf"^{re.escape(name)}=.*$", f"{name}={value}", properties, flags=re.MULTILINE)
        (directory / "server.properties").write_text(properties)
        known = (first / "data" / "meta.properties").read_text()
        self._cluster_id = next(line for line in known.splitlines() if line.startswith("cluster.id=")).partition("=")[2]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SecondBroker:
        format_ = ["kafka.tools.StorageTool", "format", f"--cluster-id={self._cluster_id}", "-c", "server.properties"]
        subprocess.run(self._java(*format_), cwd=self._directory, env=environment(), check=True, capture_output=True)
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def create(self, topic: str) -> None:
        """Create *topic*, of which this broker alone has the one partition."""
        with closing(KafkaAdminClient(bootstrap_servers=self._brokers)) as admin:

            def is_taken() -> bool:
                with suppress(InvalidReplicationAssignmentError):
                    admin.create_topics({topic: {"assignments": {0: [_ID]}}}, wait_for_metadata=True)
                    return True
                return False

            eventually(is_taken, "it may have topics")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Kill it for the length of the block."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        try:
            yield
        finally:
            self._start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it stand still for the length of the block."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _start(self) -> None:
        with (self._directory / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._java("-Xmx256m", "kafka.Kafka", "server.properties"),
                cwd=self._directory, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        with closing(KafkaAdminClient(bootstrap_servers=self._brokers)) as admin:
            eventually(
                lambda: _ID in [one["broker_id"] for one in admin.describe_cluster()["brokers"]], "it has joined", 60.0
            )

    def _java(self, *arguments: str) -> list[str]:
        return [str(downloads.java()), "-cp", downloads.kafka_classpath(print), *arguments]
