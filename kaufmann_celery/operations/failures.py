"""The events of a group that failed for good: found by their error events, known by where the original stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from kaufmann_celery.errors import EncodeError
from kaufmann_celery.event import Output, Position
from kaufmann_celery.handlers import ERROR_PREFIX
from kaufmann_celery.kafka_io.topic_reader import NoSuchTopic, TopicReader
from kaufmann_celery.operations.offsets import CONNECT_TIMEOUT_S

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.config import Config


@dataclass(frozen=True, slots=True)
class Failure:
    """One event that failed, by the last error event about it."""

    #: Where the original stands, and the record's timestamp there.
    position: Position
    timestamp_ms: int
    name: str
    error_type: str
    error: str = field(repr=False)
    attempts: int
    #: When the error event was written, in milliseconds since 1970.
    failed_at_ms: int
    #: The error event as it stands in Kafka.
    record: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which failures are meant."""

    #: A glob of the original's name.
    name: str = "*"
    #: Those since, in milliseconds since 1970.
    since_ms: int | None = None
    position: Position | None = None

    def takes(self, failure: Failure) -> bool:
        """Return whether *failure* is meant."""
        if self.position is not None and failure.position != self.position:
            return False
        return fnmatchcase(failure.name, self.name.removeprefix(ERROR_PREFIX))


def find_failures(kaufmann: Kaufmann, wanted: Wanted, topics: Iterable[str] = ()) -> list[Failure]:
    """Return the failures of the service's group, each event once, in the order in which they failed last.

    Reads *topics*, else all to which its error events go, from *wanted*'s time on: blocks for as long as that takes.
    Raises `UnavailableError`, and `NoSuchTopic` where one of *topics* does not exist.
    """
    config = kaufmann.config
    group = config.consumer_group.encode()
    found: dict[Position, Failure] = {}
    given = tuple(topics)
    for topic in given or error_topics(kaufmann):
        try:
            for record in _records(config, topic, wanted.since_ms):
                failure = failure_of(record, group)
                if failure is not None and wanted.takes(failure):
                    known = found.get(failure.position)
                    if known is None or known.failed_at_ms <= failure.failed_at_ms:
                        found[failure.position] = failure
        except NoSuchTopic:
            # As long as nothing has failed it need not be there.
            if given:
                raise
    return sorted(found.values(), key=lambda failure: failure.failed_at_ms)


def error_topics(kaufmann: Kaufmann) -> list[str]:
    """Return the topics to which error events go, besides the callback topics that events name.

    Of what a glob catches the names are those that have a schema in `schema_path`: see `may_be_elsewhere`.
    """
    from kaufmann_celery.worker.runtime import WorkerRuntime

    config = kaufmann.config
    if config.error_topic is not None:
        return [config.error_topic]
    composer = WorkerRuntime(kaufmann).composer
    topics = {config.default_publish_topic}
    for name in _names(kaufmann):
        # A function that needs the payload cannot tell; error events that it failed for go by the rules.
        for one in (composer, composer.plain()):
            with suppress(EncodeError):
                topics.update(one.topics(Output(name, None)))
    return sorted(topics)


def may_be_elsewhere(kaufmann: Kaufmann) -> bool:
    """Return whether error events may go to further topics than `error_topics` knows, by their name or payload."""
    config = kaufmann.config
    if config.error_topic is not None or config.topic_strategy == "default":
        return False
    return config.topic_strategy != "event_namespace" or any(handler.is_glob for handler in kaufmann.handlers)


def _names(kaufmann: Kaufmann) -> set[str]:
    """Return the names of events that are handled, as far as they are known."""
    exact = {handler.pattern for handler in kaufmann.handlers if not handler.is_glob}
    json_files = (file for path in kaufmann.config.schema_path for file in path.rglob("*.json"))
    with_schema = {*kaufmann.local_schemas.subjects(), *(file.stem for file in json_files)}
    return exact | {name for name in with_schema if kaufmann.handlers.match(name) is not None}


def failure_of(record: Any, group: bytes) -> Failure | None:
    """Return what an error event of *group* says; None where a record is none."""
    headers = dict(record.headers)
    key = (record.key or b"").decode("utf-8", "replace")
    if headers.get("kaufmann-group") != group or not key.startswith(ERROR_PREFIX):
        return None
    said = {name: (headers.get(f"kaufmann-{name}") or b"").decode("utf-8", "replace") for name in _SAID}
    numbers = [said[name] for name in _NUMBERS]
    if not all(number.isdecimal() for number in numbers):
        return None
    partition, offset, timestamp_ms, attempts = map(int, numbers)
    return Failure(
        Position(said["original-topic"], partition, offset), timestamp_ms, key.removeprefix(ERROR_PREFIX),
        said["error-type"], said["error-message"], attempts, record.timestamp, record,
    )  # fmt: skip


def original_of(config: Config, failure: Failure) -> Any | None:
    """Return the record that failed; None where it is not there any more. Raises `UnavailableError`."""
    try:
        with closing(TopicReader(config, *failure.position, connect_timeout=CONNECT_TIMEOUT_S)) as reader:
            record = next(reader.records(follow=False), None)
    except NoSuchTopic:
        return None
    return record if record is not None and is_original(record, failure) else None


def is_original(record: Any, failure: Failure) -> bool:
    """Return whether *record* is the one that failed: another may stand there, where a topic was made anew."""
    return bool(record.offset == failure.position.offset and record.timestamp == failure.timestamp_ms)


_NUMBERS = ("original-partition", "original-offset", "original-timestamp", "attempts")
_SAID = ("original-topic", "error-type", "error-message", *_NUMBERS)


def _records(config: Config, topic: str, since_ms: int | None) -> Iterator[Any]:
    with closing(TopicReader(config, topic, None, None, connect_timeout=CONNECT_TIMEOUT_S)) as reader:
        if since_ms is not None:
            reader.seek_to_time(since_ms)
        yield from reader.records(follow=False)
