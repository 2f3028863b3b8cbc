"""What a handler emits -> records ready for Kafka: meta, topics, partitions, bytes. Used where the handler runs.

Everything that could differ between two runs is fixed here, from the event's position: a repeat is byte for byte
the same.
"""

from __future__ import annotations

import hashlib
import inspect
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Protocol

from kaufmann_celery.config import Config
from kaufmann_celery.errors import EventTooLarge
from kaufmann_celery.event import Headers, Meta, Output
from kaufmann_celery.outputs.metadata import NO_CAUSE, Cause, Metadata
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.outputs.output_fields import check, headers_of
from kaufmann_celery.outputs.strategies import Partitions, Topics, topics_in
from kaufmann_celery.registry.client import SchemaNotFound
from kaufmann_celery.transcoders import headers as headers_of_ours
from kaufmann_celery.transcoders import tagged_json
from kaufmann_celery.transcoders.transcoder import Written

_NAMESPACE = uuid.NAMESPACE_URL.bytes


class Writes(Protocol):
    """What turns a payload into a record's value: see transcoders/configured.py."""

    def write(self, name: str, topic: str, payload: Any, meta: Mapping[str, Any], form: str | None = None) -> Written:
        """Return the bytes and headers; raise `EncodeError` and its like, or `UnavailableError`."""


class Composer:
    """Turns outputs into records. Thread-safe. Blocks on the schema registry for what its cache does not hold.

    Raises `ConfigError` where a setting names a function that is not there.
    """

    def __init__(self, config: Config, writer: Writes) -> None:
        self._config = config
        self._writer = writer
        self._metadata = Metadata(config)
        self._topics = Topics(config)
        self._partitions = Partitions(config)
        #: What marks a record as this service's own.
        self.marked: Headers = ((headers_of_ours.EMITTER, config.service.encode()),)

    def plain(self, writer: Writes | None = None) -> Composer:
        """Return one that calls no function of the service's own, and has another *writer* if given."""
        return Composer(without_functions(self._config), writer or self._writer)

    def compose(
        self,
        output: Output,
        *,
        message_id: str,
        now: datetime,
        cause: Cause = NO_CAUSE,
        emitter: bool = True,
        bounded: bool = True,
    ) -> list[OutRecord]:
        """Return the records of one output, one for each topic.

        *emitter* marks them as this service's own, so that its globs pass over them; *bounded* holds them to
        `max_event_bytes`. Raises `EncodeError`, `EventTooLarge`, or `UnavailableError` where the registry is away.
        """
        check(output)
        headers = headers_of(output.headers)
        if emitter:
            headers += self.marked
        topics = self.topics(output)
        records = self.unchecked(output, topics, headers, message_id=message_id, now=now, cause=cause)
        if bounded and sum(record.size for record in records) > self._config.max_event_bytes:
            raise EventTooLarge(f"the output {output.name} is larger than max_event_bytes")
        return records

    def unchecked(
        self, output: Output, topics: Sequence[str], headers: Headers, *, message_id: str, now: datetime, cause: Cause,
        kind: str = "output",
    ) -> list[OutRecord]:  # fmt: skip
        """Return the records of an output whose fields are as they should be, with *topics* and *headers* as given."""
        meta = self._metadata.of(output, message_id, now, cause)
        further = cause.headers + headers
        key = (f"{output.name}#{output.key}" if output.key is not None else output.name).encode()
        moment_ms = int(now.timestamp() * 1000)
        targets = list(self._targets(output, topics, cause))
        chosen = any(partition is None for _, partition in targets)
        number = self._partitions.spread(output, meta) if chosen else 0
        records = []
        for topic, partition in targets:
            value, written = self._encode(output, topic, meta)
            records.append(OutRecord(topic, key, value, written + further, moment_ms, partition, number, kind))
        return records

    def topics(self, output: Output) -> Sequence[str]:
        """Return the topics of *output*: its own, else as `topic_strategy` has it. Raises `EncodeError`."""
        return self._topics.of(output) if output.topic is None else topics_in(output.topic, "topic: got")

    def callback(self, cause: Cause) -> tuple[str, int | None] | None:
        """Return the topic and partition that replies to *cause* go to, None where there are none or not allowed."""
        if cause.callback_topic is None:
            return None
        topic, partition = cause.callback_topic.get("topic"), cause.callback_topic.get("partition")
        if not isinstance(topic, str) or not any(fnmatchcase(topic, glob) for glob in self._config.callback_topics):
            return None
        # It comes off the wire: what is no partition's number lets the key decide.
        return topic, partition if type(partition) is int and 0 <= partition < 2**31 else None

    def _targets(self, output: Output, topics: Sequence[str], cause: Cause) -> Iterator[tuple[str, int | None]]:
        callback = self.callback(cause) if output.reply else None
        if callback is not None:
            yield callback
        for topic in topics:
            if callback is None or topic != callback[0]:
                yield topic, output.partition

    def _encode(self, output: Output, topic: str, meta: Meta) -> tuple[bytes, Headers]:
        try:
            written = self._writer.write(output.name, topic, output.payload, meta, output.format)
        except SchemaNotFound as error:
            raise SchemaNotFound(f"{output.name} has no schema: {error}") from None
        headers: Headers = tuple(written.headers)
        if not written.carries_meta:
            headers += ((headers_of_ours.META, tagged_json.dumps(meta).encode()),)
        return written.value, headers


def without_functions(config: Config) -> Config:
    """Return *config* as if it named no function for what is done with outputs."""
    return replace(
        config,
        topic_strategy="default" if "." in config.topic_strategy else config.topic_strategy,
        partition_strategy="key" if "." in config.partition_strategy else config.partition_strategy,
        metadata_mod=None,
    )


def collect(returned: Any) -> list[Output]:
    """Return a handler's result as outputs; raise `TypeError` where it is anything else."""
    if returned is None:
        return []
    if isinstance(returned, Output) or _is_pair(returned):
        return [_output(returned)]
    if isinstance(returned, (list, tuple)) or inspect.isgenerator(returned):
        return [_output(one) for one in returned]
    raise TypeError(f"a handler returns None, an output, or several; got {type(returned).__name__}")


def message_id_of(incarnation: str, position: object, index: int) -> str:
    """Return the same id whenever the same event emits its output number *index*.

    A UUID of version 5, as RFC 9562 has it; `uuid.uuid5` takes three times as long.
    """
    name = f"kaufmann:{incarnation}/{position}/{index}".encode()
    text = hashlib.sha1(_NAMESPACE + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def utc_now() -> datetime:
    """Return the time as outputs carry it: aware, UTC, whole milliseconds, as Kafka keeps them."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str)


def _output(value: Any) -> Output:
    if isinstance(value, Output):
        return value
    if _is_pair(value):
        return Output(value[0], value[1])
    raise TypeError(f"an output is (name, payload) or Output(...); got {type(value).__name__}")
