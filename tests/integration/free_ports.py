"""Ports of loopback for servers of a test's own."""

from __future__ import annotations

import socket


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
