"""A schema registry that holds what it is given, on the loopback, and answers as it is told where a test says so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

Answer = tuple[int, Any]
_MISSING: Answer = (404, {"error_code": 40401, "message": "Subject not found."})


@dataclass
class RegistryOnLoopback:
    """Its state; checks no compatibility of its own accord."""

    url: str = ""
    #: Subject -> version -> id; the ids' schemas; and subjects deleted softly.
    subjects: dict[str, dict[int, int]] = field(default_factory=dict)
    schemas: list[Any] = field(default_factory=list)
    deleted: set[str] = field(default_factory=set)
    #: Subject -> its level; "" is everybody's.
    levels: dict[str, str] = field(default_factory=lambda: {"": "NONE"})
    #: Asked before each request: method, path; an answer in place of the registry's own, or None.
    instead: Callable[[str, str], Answer | None] = lambda _method, _path: None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def register(self, subject: str, schema: Any) -> int:
        """Register, unless it is known; return the id."""
        if schema not in self.schemas:
            self.schemas.append(schema)
        number = self.schemas.index(schema) + 1
        versions = self.subjects.setdefault(subject, {})
        if number not in versions.values():
            versions[max(versions, default=0) + 1] = number
        self.deleted.discard(subject)
        return number

    def answer(self, method: str, path: str, body: Any) -> Answer:
        """Answer one request."""
        self.asked.append((method, path))
        told = self.instead(method, path)
        return told if told is not None else self._own_answer(method, path.partition("?"), body)

    def _own_answer(self, method: str, path: tuple[str, str, str], body: Any) -> Answer:
        match [method, *(unquote(part) for part in path[0].strip("/").split("/"))]:
            case ["GET", "subjects"]:
                return 200, [*self.subjects]
            case ["GET", "config"]:
                return 200, {"compatibilityLevel": self.levels[""]}
            case ["GET", "config", subject]:
                return (200, {"compatibilityLevel": self.levels[subject]}) if subject in self.levels else _MISSING
            case ["POST", "subjects", subject, "versions"]:
                return 200, {"id": self.register(subject, json.loads(body["schema"]))}
            case ["POST", "compatibility", *_]:
                return 200, {"is_compatible": True}
            case [_, "subjects", subject, *rest] if subject in self.subjects:
                return self._of_subject(method, subject, rest, permanent=path[2] == "permanent=true")
        return _MISSING

    def _of_subject(self, method: str, subject: str, rest: list[str], *, permanent: bool) -> Answer:
        versions = self.subjects[subject]
        if method == "DELETE":
            if permanent != (subject in self.deleted):
                return 404, {"error_code": 40404 if subject in self.deleted else 40405, "message": "not so"}
            if permanent:
                del self.subjects[subject]
            self.deleted ^= {subject}
            return 200, [*versions]
        if subject in self.deleted:
            return _MISSING
        if rest == ["versions"]:
            return 200, [*versions]
        number = max(versions) if rest[1] == "latest" else int(rest[1])
        text = json.dumps(self.schemas[versions[number] - 1])
        return 200, {"subject": subject, "version": number, "id": versions[number], "schema": text}


@contextmanager
def registry_on_loopback() -> Iterator[RegistryOnLoopback]:
    """Run one until the block ends."""
    state = RegistryOnLoopback()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body in one packet, else the second waits 40 ms for the first's acknowledgement.
        wbufsize = 65536

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            status, said = state.answer(self.command, self.path, body)
            data = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
