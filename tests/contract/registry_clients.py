"""Three clients of a schema registry, ours and two foreign ones, by one set of calls: one test runs with each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, Protocol, TypeVar

import httpx
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from fastavro.schema import UnknownType
from schema_registry.client import SchemaRegistryClient as HttpxClient
from schema_registry.client.errors import ClientError

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.registry.client import SchemaNotFound, SchemaRegistry, SchemaRejected

Answer = TypeVar("Answer")

#: Seconds that a client waits for an answer.
TIMEOUT_S = 2


class Missing(Exception):
    """The registry has no such thing."""


class Rejected(Exception):
    """The registry will not take it."""


class Away(Exception):
    """The registry does not answer as it should."""


class Client(Protocol):
    """What services ask of a registry. Raises `Missing`, `Rejected` and `Away`."""

    def register(self, subject: str, schema: Any) -> int: ...
    def by_id(self, schema_id: int) -> Any: ...
    def latest(self, subject: str) -> tuple[int, Any]: ...
    def versions(self, subject: str) -> list[int]: ...
    def subjects(self) -> list[str]: ...
    def is_compatible(self, subject: str, schema: Any) -> bool: ...
    def delete(self, subject: str) -> list[int]: ...
    def close(self) -> None: ...


class Ours:
    def __init__(self, url: str) -> None:
        self._registry = SchemaRegistry([url], timeout=TIMEOUT_S, latest_ttl=0, miss_ttl=0)

    def register(self, subject: str, schema: Any) -> int:
        return _ours(lambda: self._registry.register(subject, schema))

    def by_id(self, schema_id: int) -> Any:
        return _ours(lambda: self._registry.by_id(schema_id).schema)

    def latest(self, subject: str) -> tuple[int, Any]:
        found = _ours(lambda: self._registry.latest(subject))
        return int(found.version or 0), found.schema

    def versions(self, subject: str) -> list[int]:
        return _ours(lambda: self._registry.versions(subject))

    def subjects(self) -> list[str]:
        return _ours(self._registry.subjects)

    def is_compatible(self, subject: str, schema: Any) -> bool:
        return not _ours(lambda: self._registry.check_compatibility(subject, schema))

    def delete(self, subject: str) -> list[int]:
        return _ours(lambda: self._registry.delete_subject(subject))

    def close(self) -> None:
        """It closes its connections when it goes."""


def _ours(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except SchemaNotFound as error:
        raise Missing from error
    except SchemaRejected as error:
        raise Rejected from error
    except UnavailableError as error:
        raise Away from error


class ConfluentKafkas:
    def __init__(self, url: str) -> None:
        self._registry = SchemaRegistryClient({"url": url, "timeout": TIMEOUT_S, "max.retries": 0})

    def register(self, subject: str, schema: Any) -> int:
        return int(self._asked(lambda: self._registry.register_schema(subject, _text(schema))))

    def by_id(self, schema_id: int) -> Any:
        return json.loads(self._asked(lambda: self._registry.get_schema(schema_id)).schema_str)

    def latest(self, subject: str) -> tuple[int, Any]:
        found = self._asked(lambda: self._registry.get_latest_version(subject))
        return int(found.version), json.loads(found.schema.schema_str)

    def versions(self, subject: str) -> list[int]:
        return list(self._asked(lambda: self._registry.get_versions(subject)))

    def subjects(self) -> list[str]:
        return list(self._asked(self._registry.get_subjects))

    def is_compatible(self, subject: str, schema: Any) -> bool:
        return bool(self._asked(lambda: self._registry.test_compatibility(subject, _text(schema))))

    def delete(self, subject: str) -> list[int]:
        return list(self._asked(lambda: self._registry.delete_subject(subject)))

    def close(self) -> None:
        self._registry.close()

    def _asked(self, call: Callable[[], Any]) -> Any:
        # Its caches would answer for the registry.
        self._registry.clear_caches()
        try:
            return call()
        except SchemaRegistryError as error:
            _refused(error.http_status_code, error)
        except (httpx.HTTPError, OSError) as error:
            raise Away from error


class PythonSchemaRegistryClients:
    """It answers with None where something is missing."""

    def __init__(self, url: str) -> None:
        self._url = url

    def register(self, subject: str, schema: Any) -> int:
        return int(self._asked(lambda registry: registry.register(subject, json.dumps(schema))))

    def by_id(self, schema_id: int) -> Any:
        return self._asked(lambda registry: registry.get_by_id(schema_id)).raw_schema

    def latest(self, subject: str) -> tuple[int, Any]:
        found = self._asked(lambda registry: registry.get_schema(subject))
        return int(found.version), found.schema.raw_schema

    def versions(self, subject: str) -> list[int]:
        return list(self._asked(lambda registry: registry.get_versions(subject)))

    def subjects(self) -> list[str]:
        return list(self._asked(lambda registry: registry.get_subjects()))

    def is_compatible(self, subject: str, schema: Any) -> bool:
        return bool(self._asked(lambda registry: registry.test_compatibility(subject, json.dumps(schema))))

    def delete(self, subject: str) -> list[int]:
        return list(self._asked(lambda registry: registry.delete_subject(subject)))

    def close(self) -> None:
        """Each call had a client of its own."""

    def _asked(self, call: Callable[[HttpxClient], Any]) -> Any:
        try:
            # A new one each time: its caches would answer for the registry.
            found = call(HttpxClient(self._url, timeout=httpx.Timeout(TIMEOUT_S)))
        except UnknownType as error:
            # It looks at the schema before the registry does.
            raise Rejected from error
        except ClientError as error:
            _refused(error.http_code or 500, error)
        except httpx.HTTPError as error:
            raise Away from error
        if found is None:
            raise Missing
        return found


CLIENTS: dict[str, Callable[[str], Client]] = {
    "ours": Ours,
    "confluent-kafka": ConfluentKafkas,
    "python-schema-registry-client": PythonSchemaRegistryClients,
}


def _refused(status: int, error: Exception) -> NoReturn:
    if status == 404:
        raise Missing from error
    raise (Rejected if status in (409, 422) else Away) from error


def _text(schema: Any) -> Schema:
    return Schema(json.dumps(schema), "AVRO")
