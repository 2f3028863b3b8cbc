"""Reads addresses from settings: brokers, URLs, where to listen. Pure; a fault shows no part of the value."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import SplitResult, urlsplit

from kaufmann_celery.config.fields import Fault
from kaufmann_celery.config.values import suggestion, text

REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")
_CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")

_KAFKA_PORT = 9092
_HIGHEST_PORT = 65535
_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?")


def broker(value: Any) -> str:
    """Read `host`, `host:port`, `[::1]:port` or a bare IPv6 address; the port is 9092 unless given."""
    address = text(value)
    if "://" in address:
        raise Fault("must be host:port, without a scheme")
    host, port = _split_address(f"[{address}]" if _is_ipv6(address) else address)
    return f"{host}:{_KAFKA_PORT if port is None else _port(port, lowest=1)}"


def listen_address(value: Any) -> str:
    """Read the `host:port` to listen on; port 0 means any that is free."""
    host, port = _split_address(text(value))
    if port is None:
        raise Fault("must be host:port, such as 127.0.0.1:8090")
    return f"{host}:{_port(port, lowest=0)}"


def redis_url(value: Any) -> str:
    """Read the URL of a Redis, of a Redis Cluster, or several of Sentinels, separated by semicolons."""
    if is_cluster(text(value)):
        _check_cluster(text(value))
        return text(value)
    for url in text(value).split(";"):
        _check_redis(_split_url(url, (*REDIS_SCHEMES, *_CLUSTER_SCHEMES)))
    return text(value)


def http_url(value: Any) -> str:
    """Read an http or https URL with a host; credentials and a path may be in it."""
    if not _split_url(text(value), ("http", "https")).hostname:
        raise Fault("must name a host, such as http://localhost:8081")
    return text(value)


def is_redis(url: str | None) -> bool:
    """Tell whether *url* is one of a Redis, so that the ledger can use the broker's."""
    scheme, separator, _ = (url or "").partition("://")
    return bool(separator) and scheme.lower() in REDIS_SCHEMES


def is_cluster(url: str | None) -> bool:
    """Tell whether *url* is one of a Redis Cluster, which Celery cannot have as its broker."""
    return (url or "").partition("://")[0].lower() in _CLUSTER_SCHEMES


def _check_cluster(url: str) -> None:
    hosts = url.partition("://")[2].rpartition("@")[2]
    if "/" in hosts.rstrip("/"):
        raise Fault("must not name a database, for a Redis Cluster has one; a password's special characters are %XX")
    for host in hosts.rstrip("/").split(","):
        _, port = _split_address(host)
        if port is not None:
            _port(port, lowest=1)


def _check_redis(url: SplitResult) -> None:
    if is_cluster(url.geturl()):
        raise Fault("must name a Redis Cluster's nodes in one URL, separated by commas")
    if url.scheme == "redis+socket":
        if len(url.path) <= 1:
            raise Fault("must name a socket, such as redis+socket:///run/redis.sock")
    elif url.path.strip("/") and not url.path.strip("/").isdecimal():
        raise Fault("must end in the number of a database; special characters of a password are written as %XX")


def _split_url(url: str, schemes: tuple[str, ...]) -> SplitResult:
    scheme, separator, _ = url.strip().partition("://")
    if not separator or scheme.lower() not in schemes:
        expected = " or ".join(f"{name}://" for name in schemes)
        raise Fault(f"must begin with {expected}{suggestion(scheme, schemes) if separator else ''}")
    if any(character.isspace() for character in url.strip()):
        raise Fault("must not hold spaces; special characters of a password are written as %XX")
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:
        # Its message quotes the part at fault, which may be the password.
        raise Fault("must be a URL; special characters of a password are written as %XX") from None
    return parts


def _split_address(address: str) -> tuple[str, str | None]:
    match = _ADDRESS.fullmatch(address)
    if match is None or (match["six"] and not _is_ipv6(match["six"])):
        raise Fault("must be host:port; an IPv6 address stands in brackets, [::1]:9092")
    return (f"[{match['six']}]" if match["six"] else match["host"]), match["port"]


def _port(port: str, *, lowest: int) -> int:
    if not lowest <= int(port) <= _HIGHEST_PORT:
        raise Fault(f"must have a port from {lowest} to {_HIGHEST_PORT}")
    return int(port)


def _is_ipv6(address: str) -> bool:
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True
