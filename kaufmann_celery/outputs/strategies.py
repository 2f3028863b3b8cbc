"""Where an output goes: its usual topics, and the number that decides its partition; by a rule, or by a function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaufmann_celery.config import Config
from kaufmann_celery.config.fields import Fault
from kaufmann_celery.config.values import topic
from kaufmann_celery.errors import EncodeError
from kaufmann_celery.event import Meta, Output
from kaufmann_celery.outputs.partitioning import STRATEGIES, spread
from kaufmann_celery.plugged import called, function

#: The names that the setting `topic_strategy` knows.
_TOPICS = ("default", "event_namespace")
#: What an outcome can hold.
_HIGHEST = 2**63 - 1


class Topics:
    """The setting `topic_strategy`. Raises `ConfigError` where it names no function."""

    def __init__(self, config: Config) -> None:
        self._default = config.default_publish_topic
        self._strategy = config.topic_strategy
        self._function = None if self._strategy in _TOPICS else function(self._strategy, "topic_strategy")

    def of(self, output: Output) -> Sequence[str]:
        """Return where *output* goes unless it says so itself. Raises `EncodeError` where the function does not."""
        if self._function is None:
            return (self._default if self._strategy == "default" else _namespace(output.name) or self._default,)
        found = called("the function of topic_strategy", self._function, output)
        return topics_in(found, f"topic_strategy: {self._strategy} returned")


class Partitions:
    """The setting `partition_strategy`. Raises `ConfigError` where it names no function."""

    def __init__(self, config: Config) -> None:
        self._strategy = config.partition_strategy
        self._function = None if self._strategy in STRATEGIES else function(self._strategy, "partition_strategy")

    def spread(self, output: Output, meta: Meta) -> int:
        """Return the number that decides the partition, modulo how many the topic has.

        Raises `EncodeError` where the function gives none.
        """
        if self._function is None:
            return spread(self._strategy, name=output.name, key=output.key, message_id=str(meta["message_id"]))
        found = called("the function of partition_strategy", self._function, output, meta)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= _HIGHEST:
            raise EncodeError(
                f"partition_strategy: {self._strategy} returned {_shown(found)}, expected a whole number from 0 on"
            )
        return found


def _namespace(name: str) -> str:
    """Return KaufmannEx's namespace: `order.placed` of `event.order.placed.v1` and of `query.req.order.placed`."""
    parts = name.split(".")
    return ".".join(parts[2:4] if parts[0] == "query" else parts[1:3])


def topics_in(found: Any, what: str) -> Sequence[str]:
    """Return the topic or the topics that *found* names, each once; *what* says where it comes from.

    Raises `EncodeError` where it is neither.
    """
    topics = [found] if isinstance(found, str) else found
    if not isinstance(topics, (list, tuple)) or not topics:
        raise EncodeError(f"{what} {_shown(found)}, expected a topic or a list of topics")
    try:
        return tuple(dict.fromkeys(topic(one) for one in topics))
    except Fault as fault:
        raise EncodeError(f"{what} what is no topic: it {fault}") from fault


def _shown(value: Any) -> str:
    """Return a number as it is, of anything else the type: it may be data."""
    if value in ([], ()):
        return f"an empty {type(value).__name__}"
    return str(value) if isinstance(value, int) else type(value).__name__
