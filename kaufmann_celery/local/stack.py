"""The local stack: starts, stops and describes its services."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import guard, pidfiles, ports, process
from kaufmann_celery.local.maven import Progress
from kaufmann_celery.local.process import ProcessRecord
from kaufmann_celery.local.services import SERVICES, Service
from kaufmann_celery.local.starting import Start, start_together

_MEMORY = "stack.json"
#: The first that is made in a stack's directory, by which it is known as one.
_LOCK = "lock"

NAMES = tuple(service.name for service in SERVICES)


@dataclass(frozen=True)
class ServiceStatus:
    """What is known of one service: *pid* and *address* are `None` while it does not run."""

    name: str
    state: Literal["running", "stopped", "died"]
    pid: int | None
    address: str | None
    log: Path


def _quiet(_line: str) -> None:
    pass


class LocalStack:
    """Real Kafka, Redis and schema registry as plain processes on this machine, on loopback alone.

    Ports, data and logs are in *directory*; *services* are the ones this object speaks of. Needs the
    extra `local`. Raises `LocalStackError` for an unknown service.
    """

    def __init__(self, directory: Path | str = ".kaufmann", *, services: Collection[str] = NAMES) -> None:
        if unknown := set(services) - set(NAMES):
            raise LocalStackError(f"Unknown service: {', '.join(sorted(unknown))}. There are: {', '.join(NAMES)}")
        self.directory = Path(directory).absolute()
        self._services = [kind(self.directory / kind.name) for kind in SERVICES if kind.name in services]

    def up(self, *, progress: Progress = _quiet, owner_pid: int | None = None) -> dict[str, str]:
        """Start what does not run yet, wait until all of it answers, and return the settings for it.

        The first time it downloads the programs (about 200 MB) and says so through *progress*. What is
        started stays until `down`; with *owner_pid* it ends when that process ends, however it ends.

        Raises:
            LocalStackError: a package is missing, a download failed, or a service did not start; what
                this call had started is stopped again.

        """
        self._claim_directory()
        with process.locked(self._lock):
            self._create_directories()
            idle = [service for service in self._services if not self._is_running(service)]
            owner = self._guarded(owner_pid) if idle else None
            self._choose_ports(idle)
            try:
                self._start(idle, owner, progress)
            except BaseException:
                self._stop(idle)
                raise
            return self._settings(self._services)

    def down(self) -> list[str]:
        """Stop what `up` started here and return the names of the services that ran. Blocks."""
        if not self._exists():
            return []
        with process.locked(self._lock):
            return self._stop()

    def status(self) -> list[ServiceStatus]:
        """Return the state of each service."""
        return [self._status(service) for service in self._services]

    def env(self) -> dict[str, str]:
        """Return the settings for what runs; raises `LocalStackError` when nothing does or something died."""
        states = {one.name: one.state for one in self.status()}
        if died := [name for name, state in states.items() if state == "died"]:
            raise LocalStackError(f"{', '.join(died)} died: `kaufmann local up` starts it again")
        running = [service for service in self._services if states[service.name] == "running"]
        if not running:
            raise LocalStackError(f"No stack is up in {self.directory}: start it with `kaufmann local up`")
        return self._settings(running)

    def plan_reset(self) -> list[Path]:
        """Return what `reset` would delete, and change nothing."""
        if not self._exists():
            return []
        return [service.directory for service in self._services if service.directory.exists()]

    def reset(self) -> list[Path]:
        """Stop the services and delete their data and logs; return what was deleted.

        Downloads and the choice of ports stay.
        """
        if not self._exists():
            return []
        with process.locked(self._lock):
            self._stop()
            doomed = self.plan_reset()
            for path in doomed:
                shutil.rmtree(path)
            return doomed

    def _exists(self) -> bool:
        return (self.directory / _MEMORY).exists()

    @property
    def _lock(self) -> Path:
        return self.directory / _LOCK

    def _claim_directory(self) -> None:
        # Looked for before the lock: another `up` that is at work makes that first.
        foreign = [name for name in NAMES if (self.directory / name).exists()]
        if foreign and not self._lock.exists():
            raise LocalStackError(f"{self.directory} holds a {foreign[0]!r} that is not a stack's: choose another")
        with self._writing():
            self.directory.mkdir(parents=True, exist_ok=True)
            self._lock.touch()

    def _create_directories(self) -> None:
        with self._writing():
            for service in self._services:
                service.directory.mkdir(exist_ok=True)
            if not self._exists():
                self._remember({})

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise LocalStackError(f"Cannot write to {self.directory}: {error}") from error

    def _guarded(self, owner_pid: int | None) -> str | None:
        if owner_pid is None:
            return None
        started = process.start_time(owner_pid)
        if started is None:
            raise LocalStackError(f"The owner of the stack, process {owner_pid}, does not run")
        owner = ProcessRecord(owner_pid, started)
        guard.start(self.directory, owner)
        return guard.owner_key(owner)

    def _record(self, service: Service) -> ProcessRecord | None:
        return ProcessRecord.read(pidfiles.service_path(self.directory, service.name))

    def _is_running(self, service: Service) -> bool:
        record = self._record(service)
        return record is not None and record.alive

    def _status(self, service: Service) -> ServiceStatus:
        record = self._record(service)
        if record is None:
            return ServiceStatus(service.name, "stopped", None, None, service.log)
        if not record.alive:
            return ServiceStatus(service.name, "died", None, None, service.log)
        return ServiceStatus(service.name, "running", record.pid, service.address(self._ports(service)), service.log)

    def _settings(self, services: Collection[Service]) -> dict[str, str]:
        return {service.setting: service.address(self._ports(service)) for service in services}

    def _remembered(self) -> dict[str, dict[str, int]]:
        memory = self.directory / _MEMORY
        try:
            by_service: dict[str, dict[str, int]] = json.loads(memory.read_text())["ports"]
        except (ValueError, KeyError, TypeError) as error:
            raise LocalStackError(f"{memory} is damaged: delete it, and new ports are chosen") from error
        return by_service

    def _remember(self, ports_by_service: Mapping[str, Mapping[str, int]]) -> None:
        process.replace_text(self.directory / _MEMORY, json.dumps({"ports": ports_by_service}, indent=2))

    def _ports(self, service: Service) -> dict[str, int]:
        return self._remembered()[service.name]

    def _choose_ports(self, idle: list[Service]) -> None:
        chosen = self._remembered()
        for service in idle:
            known = chosen.setdefault(service.name, {})
            for name in service.port_names:
                if name not in known or not ports.is_free(known[name]):
                    taken = {port for others in chosen.values() for port in others.values()}
                    known[name] = ports.choose(taken)
        self._remember(chosen)

    def _start(self, idle: list[Service], owner: str | None, progress: Progress) -> None:
        starts = [
            Start(
                service,
                self._ports(service),
                pidfiles.service_path(self.directory, service.name),
                owner,
                needed=service in idle,
            )
            for service in self._services
        ]
        start_together(starts, progress)

    def _stop(self, services: Collection[Service] | None = None) -> list[str]:
        names = {service.name for service in (self._services if services is None else services)}
        recorded = pidfiles.services(self.directory)
        stopped = pidfiles.end_services(path for name, path in recorded.items() if name in names)
        if not set(pidfiles.services(self.directory)):
            pidfiles.end_guards(self.directory)
        return stopped
