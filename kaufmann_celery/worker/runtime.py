"""What a worker process has: its connections, made in the process that uses them, never before a fork."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kaufmann_celery.ledger import LedgerConnection, connect
from kaufmann_celery.middleware import Hooks
from kaufmann_celery.outputs.composing import Composer
from kaufmann_celery.outputs.error_event import ErrorEvents
from kaufmann_celery.transcoders.configured import Transcoders
from kaufmann_celery.worker.leases import Leases
from kaufmann_celery.worker.vouching import Vouching

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.config import Config
    from kaufmann_celery.registry.client import SchemaRegistry


class WorkerRuntime:
    """The parts that handling needs, in one process. Nothing connects before its first use.

    *ledger* and *registry* stand in for the service's Redis and schema registry, in tests.
    """

    def __init__(
        self, kaufmann: Kaufmann, *, ledger: LedgerConnection | None = None, registry: SchemaRegistry | None = None
    ) -> None:
        self.config: Config = kaufmann.config
        self.ledger = ledger or connect(self.config.redis_url, kaufmann.transport_options)
        self.transcoders = Transcoders(self.config, registry=registry, local=kaufmann.local_schemas)
        self.composer = Composer(self.config, self.transcoders)
        self.error_events = ErrorEvents(self.config, self.composer, self.transcoders.avro)
        self.handle_hooks = Hooks(kaufmann.middleware, "handle")
        self.leases = Leases(self.config.lease)
        self.vouching = Vouching(self.config.lease)
        self._on_error = kaufmann.on_error_for

    def on_error(self, name: str) -> Callable[..., Any] | None:
        """Return the function that is told of an event of *name* that failed for good."""
        return self._on_error(name)


_lock = threading.Lock()
_runtimes: dict[int, tuple[int, WorkerRuntime]] = {}


def runtime_of(kaufmann: Kaufmann) -> WorkerRuntime:
    """Return this process' runtime, made at its first use here."""
    pid = os.getpid()
    with _lock:
        known = _runtimes.get(id(kaufmann))
        if known is None or known[0] != pid:
            known = _runtimes[id(kaufmann)] = (pid, WorkerRuntime(kaufmann))
        return known[1]


@contextmanager
def standing_in(kaufmann: Kaufmann, runtime: WorkerRuntime) -> Iterator[None]:
    """Have *runtime* be this process' runtime for the length of the block."""
    with _lock:
        before = _runtimes.get(id(kaufmann))
        _runtimes[id(kaufmann)] = (os.getpid(), runtime)
    try:
        yield
    finally:
        with _lock:
            del _runtimes[id(kaufmann)]
            if before is not None:
                _runtimes[id(kaufmann)] = before


def run_id(task_id: str, pid: int | None = None) -> str:
    """Return the name of a task's run in the process *pid* (this one for None) of this host.

    The worker's main process can tell it for a child that died.
    """
    return f"{socket.gethostname()}/{os.getpid() if pid is None else pid}/{task_id}"


def this_runner() -> str:
    """Return the name of the process, and thread, that runs this."""
    return f"{socket.gethostname()}/{os.getpid()}/{threading.get_ident()}"
