"""A TCP proxy that can cut every connection, and a server that takes connections and never answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_HOST = "127.0.0.1"


class Proxy:
    """Forwards to *target*; without one it is an HTTP proxy (CONNECT), as kafka-python's `proxy_url` wants it."""

    def __init__(self, target: tuple[str, int] | None = None) -> None:
        self._target = target
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        #: Connections that were cut.
        self.cuts = 0
        #: Kafka requests that hold these bytes are swallowed while it is set; and how many were.
        self.swallows: bytes | None = None
        self.swallowed = 0

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            for one in self._open:
                self.cuts += 1
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(self._target or _connect_target(client)) as server:
            if self._target is None:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with self._lock:
                self._open.add(client)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            try:
                if self._target is None:
                    self._pump_requests(client, server)
                else:
                    _pump(client, server)
                back.join()
            finally:
                with self._lock:
                    self._open.discard(client)

    def _pump_requests(self, client: socket.socket, server: socket.socket) -> None:
        """Hand on what Kafka's protocol sends: a size, then that many bytes."""
        with suppress(OSError):
            while len(size := client.recv(4, socket.MSG_WAITALL)) == 4:
                request = client.recv(int.from_bytes(size), socket.MSG_WAITALL)
                if self.swallows is not None and self.swallows in request:
                    self.swallowed += 1
                else:
                    server.sendall(size + request)
        _end(client, server)


def _connect_target(client: socket.socket) -> tuple[str, int]:
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        more = client.recv(4096)
        if not more:
            raise ConnectionError
        request += more
    host, _, port = request.split()[1].decode().rpartition(":")
    return host, int(port)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    _end(source, sink)


def _end(*connections: socket.socket) -> None:
    for one in connections:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def silent_server() -> Iterator[int]:
    """Take connections, read what comes and never answer; yield the port."""
    listener = socket.create_server((_HOST, 0))
    taken: list[socket.socket] = []

    def swallow(one: socket.socket) -> None:
        with suppress(OSError):
            while one.recv(65536):
                pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken.append(listener.accept()[0])
                threading.Thread(target=swallow, args=(taken[-1],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()
        for one in taken:
            one.close()
