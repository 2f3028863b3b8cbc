"""Loopback ports: which are free, and new ones."""

from __future__ import annotations

import random
import socket

HOST = "127.0.0.1"
# Below the range that systems hand out to outgoing connections: such a connection could otherwise take the
# port of a service while it restarts, even a client's own attempt to reconnect to it.
_RANGE = range(20_000, 32_000)


def answers(port: int) -> bool:
    """Whether something accepts connections on *port*."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((HOST, port)) == 0


def is_free(port: int) -> bool:
    """Whether a service can listen on *port* now."""
    with socket.socket() as probe:
        # As servers do, or the remains of closed connections would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return not answers(port)


def choose(taken: set[int]) -> int:
    """Return a free port that is not in *taken*."""
    candidates = (port for port in random.sample(_RANGE, len(_RANGE)) if port not in taken and is_free(port))
    return next(candidates)
