"""kafka-python's clients: nothing is left of one that cannot connect."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kafka.net.compat import KafkaNetClient


def connected(kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Return a consumer, a producer or an admin client that has reached a broker.

    Blocks for up to `bootstrap_timeout_ms`; raises kafka-python's errors. One that fails would leave its thread.
    """
    networks: list[Any] = []

    def network(**configs: Any) -> Any:
        networks.append(KafkaNetClient(**configs))
        return networks[-1]

    try:
        return kind(kafka_client=network, **options)
    except BaseException:
        for one in networks:
            one.close()
        raise
