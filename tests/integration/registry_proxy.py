"""A proxy before the real schema registry that can refuse, hang, answer 500, or a page that says 404."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["refuse", "hang", "500", "404"]
FAULTS: tuple[Fault, ...] = ("refuse", "hang", "500", "404")


class RegistryProxy:
    """Use in a `with` block. Works as the registry does until a fault is set."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._path = parts.path
        self._server = self._serve(0)
        self._port = self._server.server_address[1]
        self._answers: int | None = None
        self._released = threading.Event()
        self._released.set()
        #: Paths with this in them are answered by a page that says 404.
        self.hides: str | None = None
        #: Requests that came while something was wrong.
        self.failed = 0

    @property
    def url(self) -> str:
        """Where to find it."""
        return f"http://127.0.0.1:{self._port}{self._path}"

    def __enter__(self) -> RegistryProxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()
        self._close()

    @contextmanager
    def away(self, fault: Fault) -> Iterator[None]:
        """Have it fail in this way for the length of the block."""
        self.failed = 0
        if fault == "refuse":
            self._close()
        elif fault == "hang":
            self._released.clear()
        else:
            self._answers = int(fault)
        try:
            yield
        finally:
            self._answers = None
            self._released.set()
            if fault == "refuse":
                self._server = self._serve(self._port)

    def _serve(self, port: int) -> ThreadingHTTPServer:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def _close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        if not self._released.is_set():
            self.failed += 1
            self._released.wait()
            request.close_connection = True
            return
        if self._answers is not None:
            self.failed += 1
            request.send_error(self._answers)
            return
        if self.hides is not None and self.hides in request.path:
            request.send_error(404)
            return
        connection = HTTPConnection(*self._target, timeout=10)
        try:
            connection.request("GET", request.path, headers={"Accept": request.headers.get("Accept", "*/*")})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        request.send_response(response.status)
        request.send_header("Content-Type", response.getheader("Content-Type") or "")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
