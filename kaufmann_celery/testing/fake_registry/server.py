"""FakeSchemaRegistry: the registry's calls over HTTP on the loopback interface, and faults on request."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from kaufmann_celery.registry.client import Reference
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.testing.fake_registry.calls import MEDIA_TYPE, answer
from kaufmann_celery.testing.fake_registry.store import SchemaStore

#: Seconds between looks of the server's thread at whether it should end.
_POLL_S = 0.02


@dataclass(slots=True)
class _Faults:
    """What goes wrong until it is taken back."""

    status: int | None = None
    body: Any = None
    #: How many requests still fail; None = all.
    times: int | None = None
    delay_s: float = 0.0
    is_silent: bool = False
    #: Set where those that wait, wait no longer.
    over: threading.Event = field(default_factory=threading.Event)

    def takes(self) -> bool:
        """Return whether this request fails, and count it."""
        if self.status is None or self.times == 0:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FakeSchemaRegistry:
    """A schema registry at `url`, in memory, from `start()` to `stop()` or in a `with` block.

    Status, error codes and messages are those of Confluent's registry, and Avro's compatibility is really checked.
    *compatibility* is the global level; *incompatible_code* the error code beside HTTP status 409 (40901, or 409 as
    older registries say it); *credentials*, a user and a password, answers everybody else with 401.
    """

    def __init__(
        self, *, compatibility: str = "BACKWARD", incompatible_code: int = 40901,
        credentials: tuple[str, str] | None = None,
    ) -> None:  # fmt: skip
        self._store = SchemaStore(incompatible_code=incompatible_code)
        self._store.set_level(compatibility)
        self._lock = threading.Lock()
        self._faults = _Faults()
        self._authorization = None if credentials is None else _basic(*credentials)
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        #: What was asked so far, `GET /subjects`, in order.
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:PORT`; without credentials in it."""
        if self._http is None:
            raise RuntimeError("the registry is not running: use it in a `with` block, or call start()")
        return f"http://127.0.0.1:{self._http.server_port}"

    def register(self, subject: str, schema: Any, references: Iterable[Reference] = ()) -> int:
        """Register the schema (parsed JSON), as a client would, and return its id. Raises `Refusal`."""
        with self._lock:
            return self._store.register(subject, json.dumps(schema), list(references)).schema.id

    def register_path(self, *paths: str | Path) -> None:
        """Register every .avsc file in these directories, as `kaufmann migrate-schemas` does."""
        local = LocalSchemas(paths)
        for subject in local.subjects():
            self.register(subject, local.schema(subject))

    def fail(self, status: int, error_code: int | None = None, *, times: int | None = None) -> None:
        """Answer with this status: the next *times* requests; None: all until `recover()`."""
        code = status if error_code is None else error_code
        body = {"error_code": code, "message": "a fault on request"}
        with self._lock:
            self._faults.status, self._faults.body, self._faults.times = status, body, times

    def delay(self, seconds: float) -> None:
        """Let so much time pass before each answer."""
        with self._lock:
            self._faults.delay_s = seconds

    def hang(self) -> None:
        """Take requests and answer none, until `recover()`."""
        with self._lock:
            self._faults.is_silent = True

    def recover(self) -> None:
        """End all faults. Requests that hang lose their connections."""
        with self._lock:
            self._faults.over.set()
            self._faults = _Faults()

    def start(self) -> Self:
        """Listen, on a free port."""
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"fake": self}))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(_POLL_S,), daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening; what was registered stays."""
        http, thread = self._http, self._thread
        self._http = self._thread = None
        if http is None or thread is None:
            return
        self.recover()
        http.shutdown()
        thread.join()
        http.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answer(
        self, method: str, target: str, body: bytes | None, authorization: str | None
    ) -> tuple[int, Any] | None:
        """Return status and JSON; None for no answer at all. Blocks for as long as a fault asks for."""
        with self._lock:
            self.requests.append(f"{method} {target}")
            faults = self._faults
            fails = faults.takes()
        if faults.is_silent:
            faults.over.wait()
            return None
        if faults.delay_s:
            faults.over.wait(faults.delay_s)
        if fails:
            return int(faults.status or 500), faults.body
        if self._authorization not in (None, authorization):
            return 401, {"error_code": 40101, "message": "User cannot access the resource."}
        with self._lock:
            return answer(self._store, method, target, body)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    #: Headers and body go out in one packet, so that no client waits for the second.
    wbufsize = -1
    fake: FakeSchemaRegistry

    def _respond(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        found = self.fake._answer(self.command, self.path, body, self.headers.get("Authorization"))
        if found is None:
            self.close_connection = True
            return
        status, said = found
        data = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", MEDIA_TYPE)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = _respond  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Say nothing."""


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
