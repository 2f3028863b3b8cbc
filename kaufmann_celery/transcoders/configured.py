"""The transcoders of a service, in the order of the setting `transcoders`: which of them reads or writes an event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from kaufmann_celery.config import Config
from kaufmann_celery.config.values import suggestion
from kaufmann_celery.errors import ConfigError, DecodeError, EncodeError, EventError, UnavailableError
from kaufmann_celery.plugged import called
from kaufmann_celery.registry.client import SchemaRegistry
from kaufmann_celery.registry.local_schemas import LocalSchemas
from kaufmann_celery.transcoders.avro_events import AvroTranscoder
from kaufmann_celery.transcoders.json_events import JsonTranscoder
from kaufmann_celery.transcoders.json_schemas import JsonSchemas
from kaufmann_celery.transcoders.transcoder import Decoded, Transcoder, Written

#: The group of entry points by which further ones are found: each names what makes one of a `Config`.
GROUP: Final = "kaufmann_celery.transcoders"
BUILT_IN: Final = ("avro", "json")


class Transcoders:
    """Reads and writes events in the service's formats. Thread-safe. May block on the schema registry.

    *local* are the schemas that Avro is read into. Raises `ConfigError`.
    """

    def __init__(
        self, config: Config, *, registry: SchemaRegistry | None = None, local: LocalSchemas | None = None
    ) -> None:
        registry = registry or SchemaRegistry(config.schema_registry_url)
        avro = AvroTranscoder(config, registry, local)
        built_in: dict[str, Transcoder] = {"avro": avro, "json": JsonTranscoder(JsonSchemas(config.schema_path))}
        self._all = built_in | plugged(config)
        self._tried = {name: self._all[name] for name in config.transcoders}
        #: None where it is not among those tried: then nothing needs the registry.
        self.avro = avro if "avro" in self._tried else None
        #: None where others are asked first.
        self._quick = avro if next(iter(self._tried), "") == "avro" else None
        #: Those look at headers alone to claim a record.
        self._are_built_in = self._tried.keys() <= set(BUILT_IN)

    def read(self, name: str | None, topic: str, value: bytes, headers: Mapping[str, bytes]) -> Decoded:
        """Return what a record's value says. *name* is None where only the value has it.

        Raises `DecodeError` and others that say what is wrong with the event, and `UnavailableError`.
        """
        claimant = self._claimant(value, headers)
        if self._quick is not None and name is not None and claimant is None:
            try:
                quickly = self._quick.read_quickly(name, topic, value)
            except EventError:
                quickly = None  # what follows says what is wrong
            if quickly is not None:
                return quickly
        is_known = False
        misfit: EventError | None = None
        for transcoder, knows in self._readers(claimant, name, topic):
            try:
                found = transcoder.read(name, topic, value, headers)
            except EventError as error:
                if knows:
                    misfit = misfit or error
                elif not is_known:
                    misfit = error
            else:
                # An event with a schema in one format is of another only where it says so: by meta, or a schema's id.
                if found is not None and (knows or not is_known or found.meta or found.schema_id):
                    return found
            is_known |= knows
        raise misfit or DecodeError(f"the value is in none of the formats of transcoders: {', '.join(self._tried)}")

    def write(self, name: str, topic: str, payload: Any, meta: Mapping[str, Any], form: str | None = None) -> Written:
        """Return the value of an output. *form* names a transcoder; None: the first that has a schema for it.

        Raises `EncodeError` and others that say what is wrong with the output, and `UnavailableError`.
        """
        return self.writer(name, topic, form).write(name, topic, payload, meta)

    def writer(self, name: str, topic: str, form: str | None = None) -> Transcoder:
        """Return the transcoder that writes an output. Raises as `write`."""
        if form is None:
            tried = self._tried.values()
            try:
                return next((one for one in tried if one.knows(name, topic)), next(iter(tried)))
            except DecodeError as error:
                raise EncodeError(str(error)) from error
        if form not in self._all:
            raise EncodeError(f"format: must be one of {', '.join(self._all)}{suggestion(form, self._all)}")
        return self._all[form]

    def _claimant(self, value: bytes, headers: Mapping[str, bytes]) -> Transcoder | None:
        if self._are_built_in and not headers:
            return None
        return next((one for one in self._tried.values() if one.claims(value, headers)), None)

    def _readers(self, claimant: Transcoder | None, name: str | None, topic: str) -> Iterator[tuple[Transcoder, bool]]:
        """Yield those to try, and whether the event is theirs: the one that claims the record, or first those with a
        schema for it and then the others.
        """
        if claimant is not None:
            yield claimant, True
            return
        others = []
        for one in self._tried.values():
            if name is not None and one.knows(name, topic):
                yield one, True
            else:
                others.append(one)
        # KaufmannEx writes JSON without a header, also where there is an Avro schema.
        for one in others:
            yield one, False


def plugged(config: Config) -> dict[str, Transcoder]:
    """Return those of the setting `transcoders` that are not built in, by name. Raises `ConfigError`."""
    names = [name for name in config.transcoders if name not in BUILT_IN]
    if not names:
        return {}
    found = {point.name: point for point in entry_points(group=GROUP)}
    known = [*BUILT_IN, *found]
    if missing := [name for name in names if name not in found]:
        raise ConfigError(
            f"transcoders: there is no {missing[0]}, only {', '.join(known)}{suggestion(missing[0], known)}"
        )
    return {name: _Plugged(name, _made(found[name], config)) for name in names}


def _made(point: EntryPoint, config: Config) -> Any:
    try:
        made = called(point.value, point.load(), config)
    except (ImportError, AttributeError, EventError) as error:
        raise ConfigError(f"transcoders: {point.name} cannot be made: {error}") from error
    missing = [method for method in ("claims", "knows", "read", "write") if not callable(getattr(made, method, None))]
    if missing:
        raise ConfigError(f"transcoders: {point.name}: {point.value} made what has no {missing[0]}()")
    return made


class _Plugged:
    """A transcoder that is not ours: what it raises is what is wrong with the event, if it says no more."""

    def __init__(self, name: str, transcoder: Any) -> None:
        self._what = f"the transcoder {name}"
        self._transcoder = transcoder

    def claims(self, value: bytes, headers: Mapping[str, bytes]) -> bool:
        return bool(self._called(self._transcoder.claims, value, headers, error=DecodeError))

    def knows(self, name: str, topic: str) -> bool:
        return bool(self._called(self._transcoder.knows, name, topic, error=DecodeError))

    def read(self, name: str | None, topic: str, value: bytes, headers: Mapping[str, bytes]) -> Decoded | None:
        found = self._called(self._transcoder.read, name, topic, value, headers, error=DecodeError)
        if found is not None and not isinstance(found, Decoded):
            raise DecodeError(f"{self._what} read {type(found).__name__}, expected Decoded or None")
        return found

    def write(self, name: str, topic: str, payload: Any, meta: Mapping[str, Any]) -> Written:
        written = self._called(self._transcoder.write, name, topic, payload, meta, error=EncodeError)
        if not isinstance(written, Written):
            raise EncodeError(f"{self._what} wrote {type(written).__name__}, expected Written")
        if not isinstance(written.value, bytes):
            raise EncodeError(f"{self._what} wrote a value of type {type(written.value).__name__}, expected bytes")
        if not _are_headers(written.headers):
            raise EncodeError(f"{self._what} wrote headers that are not pairs of str and bytes")
        return written

    def _called(self, method: Callable[..., Any], *args: Any, error: type[EventError]) -> Any:
        try:
            return called(self._what, method, *args, error=error)
        except EventError as failed:
            # Its own words are better than ours around them.
            if isinstance(failed.__cause__, (EventError, UnavailableError)):
                raise failed.__cause__ from None
            raise


def _are_headers(headers: Any) -> bool:
    return isinstance(headers, (tuple, list)) and all(
        isinstance(pair, (tuple, list)) and list(map(type, pair)) == [str, bytes] for pair in headers
    )
