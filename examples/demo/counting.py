"""Counts in Kafka what came of the events, by a consumer and a decoder that share nothing with the service."""

from __future__ import annotations

import io
import json
import urllib.request
from collections import Counter
from collections.abc import Mapping
from typing import Any

import fastavro
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError

from examples.demo.traffic import Planned

ERROR = "event.error."
PARTITIONS = 4


def create_topic(brokers: str, topic: str) -> None:
    """Create *topic* unless there is one."""
    admin = KafkaAdminClient(bootstrap_servers=brokers)
    try:
        admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    except TopicAlreadyExistsError:
        pass
    finally:
        admin.close()


class Tally:
    """What stands in the topic from *start* on, and what the group has committed."""

    def __init__(
        self,
        settings: Mapping[str, str],
        topic: str,
        group: str,
        start: Mapping[TopicPartition, int] | None = None,
    ) -> None:
        brokers = settings["KAUFMANN_BROKERS"]
        self._registry = settings["KAUFMANN_SCHEMA_REGISTRY_URL"]
        self._group = group
        self._admin = KafkaAdminClient(bootstrap_servers=brokers)
        self._consumer = KafkaConsumer(bootstrap_servers=brokers, isolation_level="read_committed")
        self._partitions = [
            TopicPartition(topic, number) for number in sorted(self._consumer.partitions_for_topic(topic))
        ]
        self._consumer.assign(self._partitions)
        #: Where counting starts: the end at the time of making, unless given.
        self.start = dict(start or self.ends())
        for partition, offset in self.start.items():
            self._consumer.seek(partition, offset)
        self._committed = dict.fromkeys(self._partitions, 0)
        self._schemas: dict[str, Any] = {}
        self.records: Counter[str] = Counter()
        #: (order id, name of the output) -> how many
        self.outputs: Counter[tuple[str, str]] = Counter()
        #: (position of the failed event, error's type) -> how many
        self.errors: Counter[tuple[str, str]] = Counter()

    def ends(self) -> dict[TopicPartition, int]:
        """Return the end of each partition."""
        ends: dict[TopicPartition, int] = self._consumer.end_offsets(self._partitions)
        return ends

    def committed(self) -> dict[TopicPartition, int]:
        """Return what the group has committed, as far as its coordinator tells; 0 where it has not yet."""
        try:
            commits = self._admin.list_group_offsets({self._group: None})[self._group]
        except KafkaError as error:
            if not error.retriable:
                raise
        else:
            self._committed |= {one: commits[one].offset for one in self._partitions if one in commits}
        return dict(self._committed)

    def read(self, wait_s: float) -> None:
        """Count what came since the last call, waiting up to *wait_s* for it."""
        for records in self._consumer.poll(timeout_ms=int(wait_s * 1000), max_records=5000).values():
            for record in records:
                self._count(record)

    def read_to_end(self) -> None:
        """Count all there is now."""
        ends = self.ends()
        while any(self._consumer.position(partition) < end for partition, end in ends.items()):
            self.read(1.0)

    def close(self) -> None:
        self._consumer.close()
        self._admin.close()

    def _count(self, record: Any) -> None:
        name = record.key.decode().partition("#")[0]
        headers = {key: value.decode() for key, value in record.headers if value is not None}
        self.records[name] += 1
        if name.startswith(ERROR):
            at = ":".join(headers[f"kaufmann-original-{part}"] for part in ("topic", "partition", "offset"))
            self.errors[at, headers["kaufmann-error-type"]] += 1
        elif name in ("order.confirmed", "order.refunded"):
            self.outputs[self._order_id(record.value, headers["kaufmann-schema-id"]), name] += 1

    def _order_id(self, value: bytes, schema_id: str) -> str:
        if schema_id not in self._schemas:
            with urllib.request.urlopen(f"{self._registry}/schemas/ids/{schema_id}", timeout=10) as response:
                schema = json.loads(json.load(response)["schema"])
            self._schemas[schema_id] = fastavro.parse_schema(schema)
        decoded = fastavro.schemaless_reader(io.BytesIO(value), self._schemas[schema_id], None)
        return str(decoded["payload"]["order_id"])


def faults(published: Mapping[str, Planned], tally: Tally) -> list[str]:
    """Return how *tally* differs from what must have come of the published events (by position), in words."""
    outputs: Counter[tuple[str, str]] = Counter()
    errors: Counter[tuple[str, str]] = Counter()
    for position, one in published.items():
        if one.outcome.startswith("order."):
            assert one.payload is not None
            outputs[one.payload["order_id"], one.outcome] += 1
        else:
            errors[position, one.outcome] += 1
    found = [*_differences(outputs, tally.outputs), *_differences(errors, tally.errors)]
    if (ends := tally.ends()) != (committed := tally.committed()):
        found.append(f"committed offsets {_offsets(committed)} are not the ends {_offsets(ends)}")
    return found


def _differences(wanted: Counter[tuple[str, str]], seen: Counter[tuple[str, str]]) -> list[str]:
    return [
        f"{which} {name}: {seen[which, name]} times, must be {wanted[which, name]}"
        for which, name in sorted(wanted | seen)
        if seen[which, name] != wanted[which, name]
    ]


def _offsets(offsets: Mapping[TopicPartition, int]) -> str:
    return " ".join(f"{one.partition}:{offset}" for one, offset in sorted(offsets.items()))
