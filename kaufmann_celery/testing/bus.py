"""MockBus: events given to a service, and what it emitted; without Kafka, Redis, registry or worker."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from operator import methodcaller
from typing import Self
from uuid import uuid4

from kaufmann_celery.errors import EncodeError, EventError
from kaufmann_celery.event import Headers, Meta, Output, Payload, Position
from kaufmann_celery.middleware import Hooks
from kaufmann_celery.outputs.composing import utc_now
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.outputs.publisher import Publisher, translated
from kaufmann_celery.registry.client import SchemaNotFound, SchemaRegistry
from kaufmann_celery.tasks.celery_app import ServiceApp, kaufmann_of
from kaufmann_celery.testing.emissions import ANY, Emissions, Emitted
from kaufmann_celery.testing.reading_back import Record, is_json
from kaufmann_celery.testing.schema_files import SchemaFiles
from kaufmann_celery.testing.service_in_memory import Handled, ServiceInMemory

# A failing test shows its own lines, and not these: pytest reads the first, unittest the second.
__tracebackhide__ = methodcaller("errisinstance", AssertionError)
__unittest = True

#: Who has written the events that a test gives, in their meta.
_EMITTER = {"emitter_service": "test", "emitter_service_id": "test"}
#: Names of a loop that its message shows.
_MOST_TRAIL = 8


class MockBus:
    """One service under test. Use it in a `with` block, or the pytest fixture `kaufmann_bus`.

    *app* is the service's `Kaufmann` object, or its Celery app; its settings count, but for the addresses, which
    nothing connects to. Schemas come from `schema_path`. Events are handled at once, in the calling thread. Raises
    `ConfigError` where settings or handlers are wrong.
    """

    def __init__(self, app: ServiceApp) -> None:
        self._kaufmann = kaufmann = kaufmann_of(app)
        self._service = ServiceInMemory(kaufmann)
        self._schemas = SchemaFiles(kaufmann)
        self._another = self._service.runtime.composer.plain()
        self._hooks = Hooks(kaufmann.middleware, "publish")
        self._emissions = Emissions(as_read=self._as_read)
        #: Undecodable records as they went to `dead_letter_topic`.
        self.dead_letters: list[OutRecord] = []
        #: Emitted and not fed back, each with the names of the events that it follows from.
        self._outgoing: deque[tuple[Record, tuple[str, ...]]] = deque()
        self._offsets: dict[tuple[str, int], int] = {}
        #: What published before each block of this bus that is entered.
        self._publishers: list[Publisher | MockBus | None] = []

    def __enter__(self) -> Self:
        self._publishers.append(self._kaufmann.__dict__.get("publisher"))
        self._kaufmann.publisher = self
        return self

    def __exit__(self, *_: object) -> None:
        before = self._publishers.pop()
        if before is None:
            del self._kaufmann.publisher
        else:
            self._kaufmann.publisher = before

    @property
    def registry(self) -> SchemaRegistry:
        """The registry's client: `register` adds another version of a subject, as another service's release would."""
        return self._service.registry

    def given_event(
        self, name: str, payload: Payload, callback_id: str | None = None, meta: Meta | None = None, *,
        key: str | None = None, headers: Mapping[str, bytes | str] | None = None, format: str | None = None,  # noqa: A002 - as in Output
        topic: str | None = None,
    ) -> None:  # fmt: skip
        """Write an event as another service would, and have this one handle it.

        *meta* is merged over what such an event has; `{"callback_topic": {"topic": "replies", "partition": 0}}` asks
        for replies. *key* goes into the record key after `#`. *format*: None means the schema decides. *topic*: None
        means the first of `subscription_topics`. This service's `partition_strategy` and `metadata_mod` have no part
        in it. Raises `AssertionError` where *payload* does not fit its schema.
        """
        output = Output(
            name, payload, key=key, headers=headers, topic=topic or self._kaufmann.config.subscription_topics[0],
            format=format,
            meta={**_EMITTER, "callback_id": callback_id, **(meta or {})},
        )  # fmt: skip
        try:
            record = self._by_another(output)
        except SchemaNotFound as error:
            raise AssertionError(f"given_event: {self._schemas.hint(name) or error}") from None
        except EventError as error:
            written_by = self._schemas.file_of(str(name))
            raise AssertionError(f"given_event: {name} ({written_by}) cannot be written\n  {error}") from None
        self._take(self._placed(record), (name,))

    def given_raw(
        self, key: bytes | str | None, value: bytes | None,
        headers: Mapping[str, bytes | str] | Sequence[tuple[str, bytes]] = (), *, topic: str | None = None,
    ) -> None:  # fmt: skip
        """Write a record byte for byte, and have the service handle what it makes of it."""
        record = OutRecord(
            topic or self._kaufmann.config.subscription_topics[0],
            key.encode() if isinstance(key, str) else key,
            value,
            _pairs(headers),
            int(utc_now().timestamp() * 1000),
        )
        self._take(self._placed(record), (_named(record.key),))

    def then_event(self, name: str, payload: Payload = ANY, *, topic: str | None = None) -> Emitted:
        """Return the event of *name* that was emitted, with exactly this *payload* and to this *topic* if given.

        Each call takes one event: the next call looks among the others. Fields that the expected payload leaves out
        count as their schema's defaults. Raises `AssertionError`, which says what was emitted instead.
        """
        return self._emissions.then_event(name, payload, topic=topic, hint=self._schemas.hint(name))

    def then_no_event(self, name: str | None = None) -> None:
        """Raise `AssertionError` where an event (of *name*) was emitted that no `then_event` has asked for."""
        self._emissions.then_no_event(name)

    @property
    def emitted(self) -> list[Emitted]:
        """All that was emitted so far, in its order, whether it was asked for or not."""
        return list(self._emissions.all)

    def feed_back(self, limit: int = 100) -> None:
        """Have the service handle what it emitted itself, as far as it consumes that, and what comes of it.

        An event comes back where its topic is one of `subscription_topics` and a handler wants its name; globs pass
        over a service's own events, as in production. Raises `AssertionError` where more than *limit* come back;
        the next call goes on with these.
        """
        fed = 0
        while self._outgoing:
            record, trail = self._outgoing[0]
            is_consumed = record.topic in self._kaufmann.config.subscription_topics
            if is_consumed and fed == limit and self._service.wants(record):
                shown = " → ".join(("…", *trail[-_MOST_TRAIL:], "…"))
                raise AssertionError(f"feed_back: a loop? {limit} events came back, and there are more: {shown}")
            self._outgoing.popleft()
            if is_consumed:
                fed += self._take(record, trail)

    def publish(self, output: Output) -> Position:
        """Take what `kaufmann.publish` sends outside a handler, in a `with` block of this bus."""
        with translated(output.name):
            try:
                records = self._service.runtime.composer.compose(
                    output, message_id=str(uuid4()), now=utc_now(), emitter=False
                )
            except SchemaNotFound as error:
                raise EncodeError(self._schemas.hint(output.name) or str(error)) from error
        return self._emit(records, ())[0]

    def _by_another(self, output: Output) -> OutRecord:
        """Return the record of *output* as another service writes it."""
        (record,) = self._another.compose(output, message_id=str(uuid4()), now=utc_now(), emitter=False, bounded=False)
        return record

    def _take(self, record: Record, trail: tuple[str, ...]) -> bool:
        """Have the service handle *record*; return whether a handler wanted it."""
        handled = self._service.handle(record)
        self._emissions.notes.append(f"{trail[-1]}: {self._became(handled)}")
        if handled is not None:
            self._emit(handled.outcome.records, trail)
        return handled is not None

    def _emit(self, records: Sequence[OutRecord], trail: tuple[str, ...]) -> list[Position]:
        """Note *records* as published, inside the hooks of `kaufmann.middleware`, and return where they are."""

        def publish() -> list[Position]:
            return [self._published(record, self._placed(record), trail) for record in records]

        return self._hooks.around(records, publish) if records else []

    def _published(self, record: OutRecord, placed: Record, trail: tuple[str, ...]) -> Position:
        if record.kind == "dead_letter":
            self.dead_letters.append(record)
        else:
            emitted = self._service.reading_back.emitted(placed, record.partition)
            self._emissions.all.append(emitted)
            self._outgoing.append((placed, (*trail, emitted.name)))
        return Position(placed.topic, placed.partition, placed.offset)

    def _as_read(self, emitted: Emitted, payload: Payload) -> Payload:
        """Return *payload* as it would come back from a record like that of *emitted*."""
        form = "json" if is_json(emitted.headers) else None
        output = Output(emitted.name, payload, topic=emitted.topic, format=form, meta=emitted.meta)
        return self._service.reading_back.emitted(_at(self._by_another(output), 0), None).payload

    def _placed(self, record: OutRecord) -> Record:
        """Return the record as it would stand in Kafka, in partition 0 unless it asks for another."""
        place = (record.topic, record.partition or 0)
        offset = self._offsets[place] = self._offsets.get(place, -1) + 1
        return _at(record, offset)

    def _became(self, handled: Handled | None) -> str:
        """Say what became of an event that was given."""
        if handled is None:
            wanted = ", ".join(one.pattern for one in self._kaufmann.handlers) or "none is registered"
            return f"no handler wants it; handlers: {wanted}"
        decoded, outcome = handled.decoded, handled.outcome
        if decoded.error is not None:
            return f"it cannot be decoded: {type(decoded.error).__name__}: {decoded.error}"
        assert decoded.handler is not None
        runs = "" if handled.runs == 1 else f" in {handled.runs} runs"
        if not outcome.failed:
            return f"handled{runs}"
        said = f"its handler ({decoded.handler.source}) failed{runs}: {outcome.error_type}: {outcome.error}"
        return f"{said}\n{handled.traceback}"


def _at(record: OutRecord, offset: int) -> Record:
    return Record(
        record.topic, record.partition or 0, offset, record.key, record.value, record.headers, record.timestamp_ms
    )


def _pairs(headers: Mapping[str, bytes | str] | Sequence[tuple[str, bytes]]) -> Headers:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple((name, value.encode() if isinstance(value, str) else value) for name, value in pairs)


def _named(key: bytes | None) -> str:
    return (key or b"").decode("utf-8", "replace").partition("#")[0] or "a record without a name"
