"""A Redis Cluster, found by any of its nodes. A ledger's keys share one hash slot, and so one node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.cluster import ClusterNode, RedisCluster

#: What such a URL begins with; the second is by TLS.
SCHEMES = ("redis+cluster://", "rediss+cluster://")


def connected_to(url: str, options: Mapping[str, Any]) -> RedisCluster:
    """Return a client of the cluster at `redis+cluster://user:password@host:port,host:port`. Blocks: asks a node."""
    scheme, _, rest = url.partition("://")
    user, _, hosts = rest.rstrip("/").rpartition("@")
    nodes = [urlsplit(f"//{host}") for host in hosts.split(",")]
    name, _, password = user.partition(":")
    return RedisCluster(
        startup_nodes=[
            ClusterNode(node.hostname, node.port or 6379)  # type: ignore[no-untyped-call] # redis-py types part of itself
            for node in nodes
        ],
        username=unquote(name) or None,
        password=unquote(password) or None,
        ssl=scheme.startswith("rediss"),
        **options,
    )
