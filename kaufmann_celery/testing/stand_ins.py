"""What stands in for Redis and the schema registry in a test; all else that a handler's run touches is real."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

import requests

from kaufmann_celery.app import Kaufmann
from kaufmann_celery.ledger import LedgerConnection, RunLedger
from kaufmann_celery.registry.client import SchemaRegistry
from kaufmann_celery.registry.local_schemas import shipped_error_schema
from kaufmann_celery.testing.fake_registry.calls import answer
from kaufmann_celery.testing.fake_registry.store import SchemaStore
from kaufmann_celery.worker.leases import KeptLease, Leases
from kaufmann_celery.worker.runtime import WorkerRuntime

_ERROR_SUBJECT: Final = "event.error"


class Reported(NamedTuple):
    """What a run said of its event: `outcome` and its bytes, or `retry` and the milliseconds to wait."""

    kind: str
    what: Any


#: Arguments of each script before those that are of single events.
_BEFORE_EVENTS = {"begin": 5, "renew": 4, "finish": 4}


class LedgerInMemory:
    """Lets every run begin, and keeps what it reports."""

    def __init__(self) -> None:
        self.reported: list[Reported] = []

    def run(self, script: str, _keys: Sequence[str], args: Sequence[Any]) -> bytes:
        """Answer one of the scripts that a run calls: `begin`, `renew`, `finish`."""
        events = args[_BEFORE_EVENTS[script] :]
        if script != "finish":
            return " ".join(events[::2]).encode()
        self.reported += [Reported(events[at + 2], events[at + 3]) for at in range(0, len(events), 4)]
        return b""


class _LeasesForEver(Leases):
    """Nobody takes a lease away here, so no thread renews any."""

    @contextmanager
    def keep(
        self, ledger: RunLedger, events: Sequence[tuple[int, int]], since: float, loose: Collection[int] = ()
    ) -> Iterator[KeptLease]:
        yield KeptLease(ledger, events, since, loose)


class _RegistrySession(requests.Session):
    """Answers the registry's client from a store, without HTTP."""

    def __init__(self, store: SchemaStore) -> None:
        super().__init__()
        self._store = store

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **options: Any) -> requests.Response:  # noqa: ARG002 - requests' signature
        parts = urlsplit(str(url))
        body = options.get("json")
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        status, said = answer(self._store, str(method), target, None if body is None else json.dumps(body).encode())
        response = requests.Response()
        response.status_code = status
        response.raw = BytesIO(json.dumps(said).encode())
        return response


def registry_in_memory(kaufmann: Kaufmann) -> SchemaRegistry:
    """Return the registry's client, over what `migrate-schemas` would register: `schema_path`, and `event.error`."""
    store, local = SchemaStore(), kaufmann.local_schemas
    found = {subject: local.schema(subject) for subject in local.subjects()}
    for subject, schema in {_ERROR_SUBJECT: shipped_error_schema(), **found}.items():
        # Without the checks of `register`: the files were read by who knows Avro.
        store.add(subject, json.dumps(schema))
    return SchemaRegistry(["http://in-memory"], session=_RegistrySession(store))


def runtime_in_memory(kaufmann: Kaufmann, ledger: LedgerInMemory, registry: SchemaRegistry) -> WorkerRuntime:
    """Return what a worker process has, with stand-ins for Redis and the registry."""
    runtime = WorkerRuntime(kaufmann, ledger=cast(LedgerConnection, ledger), registry=registry)
    runtime.leases = _LeasesForEver(kaufmann.config.lease)
    return runtime
