"""The schema registry, over HTTP: Confluent's REST API, as Apicurio and Karapace speak it too. Cached."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

import requests

from kaufmann_celery.errors import EventError, UnavailableError
from kaufmann_celery.registry.registry_http import Answer, RegistryHttp

logger = logging.getLogger(__name__)

#: Most names and ids remembered as missing: they come off the wire.
_MAX_MISSES: Final = 10_000
#: Characters of a subject in a message: they come off the wire too.
_MOST_SHOWN: Final = 200


class SchemaNotFound(EventError):
    """The schema registry has no such subject, version or id. Register it with `kaufmann migrate-schemas`."""


class SchemaRejected(EventError):
    """The schema registry refuses a schema: it is invalid, or not compatible with the registered version."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A named type that a schema takes from another subject."""

    name: str
    subject: str
    version: int


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """A schema as the registry holds it."""

    #: 0 where the registry was asked by GUID and did not say.
    id: int
    #: None where the registry was asked by id or GUID.
    subject: str | None
    version: int | None
    #: Parsed JSON.
    schema: Any
    references: tuple[Reference, ...] = ()


class SchemaRegistry:
    """A client with a cache; any thread may use it, also after a fork. Every call may block on HTTP.

    *urls* are tried in turn, beginning with the one that answered last; a path and credentials in them work.
    *timeout* is for one connection and one answer, *latest_ttl* is how long a subject's latest version is
    believed, *miss_ttl* how long something missing is believed to be; all in seconds.

    Every call raises UnavailableError where no URL answers as a registry does, or all refuse us (401, 403): nothing
    is wrong with the event, so wait and try again. It raises SchemaNotFound where the registry has nothing there, also
    where a proxy says so and the registry itself answers.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        timeout: float = 5.0,
        latest_ttl: float = 60.0,
        miss_ttl: float = 5.0,
        session: requests.Session | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = RegistryHttp(urls, timeout=timeout, session=session)
        self._latest_ttl = latest_ttl
        self._miss_ttl = miss_ttl
        self._clock = clock
        # Plain dicts, no lock: an operation on them is atomic, and a fork could find a lock held.
        self._by_path: dict[str, RegisteredSchema] = {}
        self._latest: dict[str, tuple[RegisteredSchema, float]] = {}
        self._misses: dict[str, float] = {}

    def by_id(self, schema_id: int) -> RegisteredSchema:
        """The schema of that id; cached for ever, since ids are never given again."""
        return self._for_ever(f"/schemas/ids/{schema_id}", _gone(f"schema with id {schema_id}"), schema_id=schema_id)

    def by_guid(self, guid: str) -> RegisteredSchema:
        """The schema of Confluent's GUID; cached for ever. Registries without GUIDs have none."""
        return self._for_ever(f"/schemas/guids/{quote(guid, safe='')}", _gone(f"schema with GUID {guid}"))

    def version(self, subject: str, number: int) -> RegisteredSchema:
        """One version of a subject; cached for ever."""
        what = _gone(f"version {number} of subject {subject[:_MOST_SHOWN]}")
        return self._for_ever(f"/subjects/{_quoted(subject)}/versions/{number}", what)

    def latest(self, subject: str) -> RegisteredSchema:
        """The subject's newest version. While the registry is away, the last one it gave."""
        known = self.known(subject)
        if known is not None:
            return known
        cached = self._latest.get(subject)
        try:
            found = self._get_schema(_latest_of(subject), _unregistered(subject))
        except UnavailableError:
            if cached is None:
                raise
            logger.warning("schema registry is away, using a known schema", extra={"action": "registry_stale"})
            self._latest[subject] = (cached[0], self._clock() + self._miss_ttl)
            return cached[0]
        except SchemaNotFound:
            self._latest.pop(subject, None)
            raise
        self._latest[subject] = (found, self._clock() + self._latest_ttl)
        return found

    def known(self, subject: str) -> RegisteredSchema | None:
        """Return the newest version if `latest` would without asking the registry, else None. Does not block."""
        cached = self._latest.get(subject)
        return cached[0] if cached is not None and self._clock() < cached[1] else None

    def is_missing(self, subject: str) -> bool:
        """Return whether the registry said a moment ago that it has no such subject. Does not block."""
        missing_until = self._misses.get(_latest_of(subject))
        return missing_until is not None and self._clock() < missing_until

    def references_of(self, schema: RegisteredSchema) -> list[Any]:
        """The schemas that it refers to, dependencies first, each once."""
        found: dict[tuple[str, int], Any] = {}
        self._collect(schema, found)
        return list(found.values())

    def _collect(self, schema: RegisteredSchema, found: dict[tuple[str, int], Any]) -> None:
        for reference in schema.references:
            key = (reference.subject, reference.version)
            if key not in found:
                referred = self.version(reference.subject, reference.version)
                self._collect(referred, found)
                found[key] = referred.schema

    def subjects(self) -> list[str]:
        """Every subject's name."""
        return [str(name) for name in self._http.get("/subjects").list()]

    def versions(self, subject: str) -> list[int]:
        """The subject's version numbers, oldest first; asked for each time."""
        answer = self._http.get(f"/subjects/{_quoted(subject)}/versions")
        _raise_for(answer, _unregistered(subject))
        return sorted(int(number) for number in answer.list())

    def register(self, subject: str, schema: Any, references: Iterable[Reference] = ()) -> int:
        """Register the schema as the subject's next version, unless it is one already; returns its id.

        Raises:
            SchemaRejected: it is invalid, or not compatible; the message is the registry's reason.
        """
        answer = self._http.post(f"/subjects/{_quoted(subject)}/versions", _request(schema, references))
        _raise_for(answer)
        self.forget(subject)
        return int(answer.field("id"))

    def check_compatibility(self, subject: str, schema: Any, references: Iterable[Reference] = ()) -> list[str]:
        """What the registry finds incompatible with the latest version; empty also where there is none."""
        path = f"/compatibility/subjects/{_quoted(subject)}/versions/latest?verbose=true"
        answer = self._http.post(path, _request(schema, references))
        if answer.is_missing:
            return []
        _raise_for(answer)
        if answer.field("is_compatible"):
            return []
        messages = answer.body.get("messages") if isinstance(answer.body, dict) else None
        return [str(message) for message in messages or ["not compatible with the latest version"]]

    def compatibility(self, subject: str) -> str:
        """The level that holds for a subject, `BACKWARD` for instance; `NONE` where the registry enforces nothing."""
        for path in (f"/config/{_quoted(subject)}?defaultToGlobal=true", "/config"):
            answer = self._http.get(path)
            if not answer.is_missing:
                _raise_for(answer)
                return str(answer.field("compatibilityLevel"))
        return "NONE"

    def delete_subject(self, subject: str, *, permanent: bool = False) -> list[int]:
        """Delete every version of it; returns their numbers. *permanent* works on a deleted subject only."""
        answer = self._http.delete(f"/subjects/{_quoted(subject)}{'?permanent=true' * permanent}")
        _raise_for(answer, _unregistered(subject))
        self.forget(subject)
        return sorted(int(number) for number in answer.list())

    def forget(self, subject: str) -> None:
        """Ask anew for what is cached under the subject's name; ids stay."""
        self._latest.pop(subject, None)
        prefix = f"/subjects/{_quoted(subject)}/versions/"
        for cache in (self._by_path, self._misses):
            for path in [path for path in list(cache) if path.startswith(prefix)]:
                cache.pop(path, None)

    def ping(self) -> None:
        """Return if the registry answers and lets us in."""
        self._http.get("/subjects").list()

    def _for_ever(self, path: str, what: str, *, schema_id: int = 0) -> RegisteredSchema:
        found = self._by_path.get(path)
        if found is None:
            found = self._by_path[path] = self._get_schema(path, what, schema_id=schema_id)
        return found

    def _get_schema(self, path: str, what: str, *, schema_id: int = 0) -> RegisteredSchema:
        missing_until = self._misses.get(path)
        if missing_until is not None and self._clock() < missing_until:
            raise _missing(what)
        answer = self._http.get(path)
        if answer.is_missing:
            if len(self._misses) >= _MAX_MISSES:
                self._misses.clear()
            self._misses[path] = self._clock() + self._miss_ttl
        _raise_for(answer, what)
        return _registered(answer, schema_id)


@lru_cache(maxsize=1000)
def _latest_of(subject: str) -> str:
    return f"/subjects/{_quoted(subject)}/versions/latest"


@lru_cache(maxsize=1000)
def _quoted(subject: str) -> str:
    return quote(subject, safe="")


def _unregistered(subject: str) -> str:
    shown = subject[:_MOST_SHOWN]
    return f"subject {shown}: put {shown}.avsc into schema_path and run `kaufmann migrate-schemas`"


def _gone(what: str) -> str:
    return f"{what}: it was deleted, or another registry has it (schema_registry_url)"


def _missing(what: str) -> SchemaNotFound:
    return SchemaNotFound(f"the schema registry has no {what}")


def _raise_for(answer: Answer, what: str | None = None) -> None:
    """Raise what is wrong with *answer*; *what* is what is not there where it says so."""
    if answer.is_missing:
        raise _missing(what or answer.reason)
    if answer.status >= 400:
        raise SchemaRejected(f"the schema registry refuses ({answer.status}): {answer.reason}")


def _request(schema: Any, references: Iterable[Reference]) -> dict[str, Any]:
    body: dict[str, Any] = {"schema": json.dumps(schema)}
    referred = [{"name": ref.name, "subject": ref.subject, "version": ref.version} for ref in references]
    return body | ({"references": referred} if referred else {})


def _registered(answer: Answer, schema_id: int) -> RegisteredSchema:
    text = answer.field("schema")
    kind = answer.body.get("schemaType", "AVRO")
    if kind != "AVRO":
        raise EventError(f"the registered schema is {kind}, not Avro")
    try:
        return RegisteredSchema(
            id=int(answer.body.get("id", schema_id)),
            subject=answer.body.get("subject"),
            version=answer.body.get("version"),
            schema=json.loads(text),
            references=tuple(
                Reference(ref["name"], ref["subject"], int(ref["version"]))
                for ref in answer.body.get("references") or ()
            ),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise UnavailableError("the schema registry gave an answer that is none of its kind") from error
