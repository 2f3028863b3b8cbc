"""kafka-python's options, from ours. Milliseconds begin here."""

from __future__ import annotations

from typing import Any

from kaufmann_celery.config import Config
from kaufmann_celery.config.values import suggestion
from kaufmann_celery.errors import ConfigError

#: A dead ingester's partitions move on after this many seconds; kafka-python's 45 s would make recovery slow.
_SESSION_TIMEOUT_S = 8.0
_HEARTBEAT_S = 2.0
#: An ingester that does not poll for this long is out of the group.
_MAX_POLL_INTERVAL_S = 60.0
#: New partitions and topics are noticed after this many seconds.
_METADATA_MAX_AGE_S = 15.0
#: Kafka aborts a transaction that is open for longer.
TRANSACTION_TIMEOUT_S = 10.0

#: Seconds that kafka-python waits for an answer, and the options that say how long one call of it may wait.
_WAIT_S = 30.0
_WAITS = ("request_timeout_ms", "bootstrap_timeout_ms", "max_block_ms")

#: What the names of options end in that are numbers.
_NUMBERS = ("_ms", "_bytes", "_size", "_records")
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

_COMMON_NAMES = (
    "bootstrap_timeout_ms", "client_id", "proxy_url", "reconnect_backoff_max_ms", "reconnect_backoff_ms",
    "request_timeout_ms", "security_protocol",
)  # fmt: skip


def check_options(config: Config) -> None:
    """Raise `ConfigError` with every option of `kafka_options` that kafka-python does not know, or cannot be."""
    if not config.kafka_options:
        return
    known = _consumer_names() | _producer_names()
    faults = []
    for name, value in config.kafka_options.items():
        if name not in known:
            faults.append(f"{name} is no option of kafka-python{suggestion(name, known)}")
        elif name.endswith(_NUMBERS) and (isinstance(value, bool) or not isinstance(value, int | float | None)):
            faults.append(f"{name} must be a number")
        elif name == "security_protocol" and value not in _PROTOCOLS:
            *others, last = _PROTOCOLS
            faults.append(f"{name} must be {', '.join(others)} or {last}{suggestion(str(value), _PROTOCOLS)}")
    if faults:
        raise ConfigError("\n".join(f"kafka_options: {fault}" for fault in faults))


def client_options(config: Config) -> dict[str, Any]:
    """Return what every client needs: where the brokers are and how to sign in."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(config.brokers),
        "client_id": config.service_id,
        # Java's. With kafka-python's 30 s a broker that was away for long is looked for so rarely that the consumer's
        # session ends before it is found again.
        "reconnect_backoff_max_ms": 1000,
    }
    shared = {
        name: value
        for name, value in config.kafka_options.items()
        if name in _COMMON_NAMES or name.startswith(("sasl_", "ssl_"))
    }
    return options | shared


def consumer_options(config: Config) -> dict[str, Any]:
    """Return the consumer's options; `kafka_options` wins, but for what the guarantees rest on."""
    return {
        **client_options(config),
        "session_timeout_ms": int(_SESSION_TIMEOUT_S * 1000),
        "heartbeat_interval_ms": int(_HEARTBEAT_S * 1000),
        "max_poll_interval_ms": int(_MAX_POLL_INTERVAL_S * 1000),
        "metadata_max_age_ms": int(_METADATA_MAX_AGE_S * 1000),
        "max_poll_records": 250,
        # Then it tries anew, and the log has said that Kafka does not answer.
        "bootstrap_timeout_ms": 5000,
        # A partition that goes on being read waits for the answer about the others, which is this long where they
        # have nothing new; kafka-python's 500 ms let workers idle.
        "fetch_max_wait_ms": 100,
        # Bounds what is read ahead, whatever the lag; a larger record comes all the same, alone.
        "fetch_max_bytes": 2 * 1024 * 1024,
        "max_partition_fetch_bytes": 256 * 1024,
        **_known(config, _consumer_names()),
        **_assignors(config),
        "group_id": config.consumer_group,
        "enable_auto_commit": False,
        # Only then does kafka-python wait for a dying predecessor's transaction before it reads the commit.
        "isolation_level": "read_committed",
        # A position that is missing or gone is never chosen silently: see consume.py.
        "auto_offset_reset": "none",
    }


def producer_options(config: Config) -> dict[str, Any]:
    """Return the producer's options."""
    return {
        **client_options(config),
        # Kafka's own since 4.0: a request for each record costs broker and sender more than the record does.
        "linger_ms": 5,
        # A request has one batch for a partition, and what fails or is answered comes by the hundred. Where a topic
        # takes less, kafka-python makes smaller ones.
        "batch_size": 128 * 1024,
        "max_block_ms": 5000,
        "metadata_max_age_ms": int(_METADATA_MAX_AGE_S * 1000),
        # The broker and the topic decide what is too large, not a second limit here.
        "max_request_size": 64 * 1024 * 1024,
        **_known(config, _producer_names()),
        "acks": "all",
        "enable_idempotence": True,
        # A misspelt topic is the event's failure, not a new topic.
        "allow_auto_create_topics": False,
    }


def transactional_options(config: Config, transactional_id: str) -> dict[str, Any]:
    """Return the options of a producer that writes in transactions."""
    return {
        # Whoever waits for it holds everything up.
        "bootstrap_timeout_ms": 5000,
        **producer_options(config),
        "transactional_id": transactional_id,
        "transaction_timeout_ms": int(TRANSACTION_TIMEOUT_S * 1000),
        # For this long a transaction sleeps that begins while the one before is still being finished by Kafka.
        "retry_backoff_ms": 10,
    }


def longer_wait_s(config: Config) -> float:
    """Return by how many seconds `kafka_options` make a call wait longer than it does by itself."""
    return max(0.0, max(config.kafka_options.get(name) or 0 for name in _WAITS) / 1000 - _WAIT_S)


def _known(config: Config, names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in config.kafka_options.items() if name in names}


def _assignors(config: Config) -> dict[str, Any]:
    """Return the assignors that are named as Kafka names them; kafka-python wants classes."""
    from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
    from kafka.coordinator.assignors.range import RangePartitionAssignor
    from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
    from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

    option = "partition_assignment_strategy"
    known: dict[Any, Any] = {
        one.name: one
        for one in (
            CooperativeStickyAssignor, RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor,
        )
    }  # fmt: skip
    given = config.kafka_options.get(option)
    return {option: [known.get(one, one) for one in given]} if given else {}


def _consumer_names() -> frozenset[str]:
    from kafka import KafkaConsumer

    return frozenset(KafkaConsumer.DEFAULT_CONFIG)


def _producer_names() -> frozenset[str]:
    from kafka import KafkaProducer

    return frozenset(KafkaProducer.DEFAULT_CONFIG)
