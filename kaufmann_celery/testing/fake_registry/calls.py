"""The schema registry's REST calls, on a store: method, path and body to status and JSON. No HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from kaufmann_celery.registry.client import Reference
from kaufmann_celery.testing.fake_registry.store import Refusal, SchemaStore, StoredSchema, Version

#: What every answer is.
MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, taken apart."""

    store: SchemaStore
    #: What stands in the path's variable places, percent-decoded.
    names: tuple[str, ...]
    query: Mapping[str, str]
    body: Any = field(repr=False)

    @property
    def subject(self) -> str:
        """The first variable of the path."""
        return self.names[0]

    def asks(self, name: str) -> bool:
        """Return whether the query has `<name>=true`."""
        return self.query.get(name, "").lower() == "true"

    def schema(self) -> tuple[str, list[Reference]]:
        """Return the schema in the body, and its references."""
        body = self.body if isinstance(self.body, Mapping) else {}
        if body.get("schemaType", "AVRO") != "AVRO":
            raise Refusal(422, 42201, f"Invalid schema type {body['schemaType']}: this registry has AVRO alone")
        text = body.get("schema")
        if not isinstance(text, str) or not text:
            raise Refusal(422, 42201, "Empty schema")
        try:
            references = [
                Reference(one["name"], one["subject"], int(one["version"])) for one in body.get("references") or ()
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise Refusal(422, 42201, "Invalid references") from error
        return text, references

    def text(self, name: str) -> str:
        """Return a text field of the body, empty without."""
        return str(self.body.get(name, "")) if isinstance(self.body, Mapping) else ""


def answer(store: SchemaStore, method: str, target: str, body: bytes | None) -> tuple[int, Any]:
    """Return the status and the JSON with which a registry answers."""
    parts = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    known = False
    for wanted, pattern, respond in _ROUTES:
        if (match := pattern.fullmatch(parts.path.rstrip("/") or "/")) is None:
            continue
        known = True
        if wanted != method:
            continue
        try:
            parsed = json.loads(body) if body else None
            return 200, respond(Call(store, tuple(unquote(one) for one in match.groups()), query, parsed))
        except ValueError as error:
            return _refused(400, 400, f"the body is not JSON: {error}")
        except Refusal as refusal:
            return _refused(refusal.status, refusal.code, str(refusal))
    status = 405 if known else 404
    return _refused(status, status, f"HTTP {status} {'Method Not Allowed' if known else 'Not Found'}")


def _refused(status: int, code: int, message: str) -> tuple[int, Any]:
    return status, {"error_code": code, "message": message}


def _register(call: Call) -> Any:
    version = call.store.register(call.subject, *call.schema())
    return {"id": version.schema.id, "version": version.number, "guid": version.schema.guid}


def _lookup(call: Call) -> Any:
    return _shown_version(call.store.lookup(call.subject, *call.schema()))


def _versions(call: Call) -> Any:
    return [one.number for one in call.store.versions(call.subject, deleted=call.asks("deleted"))]


def _version(call: Call) -> Any:
    return _shown_version(_found(call))


def _version_schema(call: Call) -> Any:
    return json.loads(_found(call).schema.text)


def _referenced_by(call: Call) -> Any:
    return call.store.referring(_found(call))


def _found(call: Call) -> Version:
    return call.store.version(*call.names, deleted=call.asks("deleted"))


def _delete_subject(call: Call) -> Any:
    permanent = call.asks("permanent")
    versions = call.store.versions(call.subject, deleted=True)
    live = [one for one in versions if not one.is_deleted]
    if permanent and live:
        raise Refusal(404, 40405, f"Subject '{call.subject}' was not deleted first before being permanently deleted")
    if not permanent and not live:
        raise Refusal(
            404, 40404, f"Subject '{call.subject}' was soft deleted. Set permanent=true to delete permanently"
        )
    return call.store.delete(versions if permanent else live, permanent=permanent)


def _delete_version(call: Call) -> Any:
    permanent = call.asks("permanent")
    found = call.store.version(*call.names, deleted=permanent)
    if permanent and not found.is_deleted:
        raise Refusal(404, 40407, f"Version {found.number} was not deleted first before being permanently deleted")
    return call.store.delete([found], permanent=permanent)[0]


def _by_id(call: Call) -> Any:
    return _shown_schema(_identified(call))


def _by_guid(call: Call) -> Any:
    found = call.store.by_guid(call.names[0])
    return {**_shown_schema(found), "id": found.id}


def _uses(call: Call) -> Any:
    return [{"subject": one.subject, "version": one.number} for one in call.store.uses(_identified(call))]


def _subjects_of(call: Call) -> Any:
    return sorted({one.subject for one in call.store.uses(_identified(call), deleted=call.asks("deleted"))})


def _identified(call: Call) -> StoredSchema:
    return call.store.by_id(int(call.names[0]))


def _subjects(call: Call) -> Any:
    prefix = call.query.get("subjectPrefix", "")
    return [name for name in call.store.subjects(deleted=call.asks("deleted")) if name.startswith(prefix)]


def _compatibility(call: Call) -> Any:
    subject, which = (*call.names, None)[:2]
    faults = call.store.incompatible(str(subject), *call.schema(), which)
    said = {"messages": faults} if call.asks("verbose") else {}
    return {"is_compatible": not faults, **said}


def _config(call: Call) -> Any:
    level = call.store.level_of(*call.names, or_global=call.asks("defaultToGlobal")) if call.names else call.store.level
    return {"compatibilityLevel": level}


def _set_config(call: Call) -> Any:
    call.store.set_level(call.text("compatibility"), *call.names)
    return {"compatibility": call.text("compatibility")}


def _delete_config(call: Call) -> Any:
    level = call.store.level_of(call.subject, or_global=False)
    del call.store.levels[call.subject]
    return {"compatibility": level}


def _mode(call: Call) -> Any:
    if call.names and not call.asks("defaultToGlobal"):
        raise Refusal(404, 40409, f"Subject '{call.subject}' does not have subject-level mode configured")
    return {"mode": call.store.mode}


def _set_mode(call: Call) -> Any:
    call.store.set_mode(call.text("mode"))
    return {"mode": call.store.mode}


def _shown_schema(schema: StoredSchema) -> dict[str, Any]:
    references = [{"name": one.name, "subject": one.subject, "version": one.version} for one in schema.references]
    return {"schema": schema.text, "guid": schema.guid, **({"references": references} if references else {})}


def _shown_version(version: Version) -> dict[str, Any]:
    place = {"subject": version.subject, "version": version.number, "id": version.schema.id}
    return {**place, **_shown_schema(version.schema)}


def _route(
    method: str, path: str, respond: Callable[[Call], Any]
) -> tuple[str, re.Pattern[str], Callable[[Call], Any]]:
    return method, re.compile(path.replace("{}", "([^/]+)").replace("{#}", "([0-9]+)")), respond


_ROUTES: Final = [
    _route("GET", "/", lambda _: {}),
    _route("GET", "/subjects", _subjects),
    _route("POST", "/subjects/{}", _lookup),
    _route("DELETE", "/subjects/{}", _delete_subject),
    _route("GET", "/subjects/{}/versions", _versions),
    _route("POST", "/subjects/{}/versions", _register),
    _route("GET", "/subjects/{}/versions/{}", _version),
    _route("DELETE", "/subjects/{}/versions/{}", _delete_version),
    _route("GET", "/subjects/{}/versions/{}/schema", _version_schema),
    _route("GET", "/subjects/{}/versions/{}/referencedby", _referenced_by),
    _route("GET", "/schemas/types", lambda _: ["AVRO"]),
    _route("GET", "/schemas/ids/{#}", _by_id),
    _route("GET", "/schemas/ids/{#}/versions", _uses),
    _route("GET", "/schemas/ids/{#}/subjects", _subjects_of),
    _route("GET", "/schemas/guids/{}", _by_guid),
    _route("POST", "/compatibility/subjects/{}/versions", _compatibility),
    _route("POST", "/compatibility/subjects/{}/versions/{}", _compatibility),
    _route("GET", "/config", _config),
    _route("PUT", "/config", _set_config),
    _route("GET", "/config/{}", _config),
    _route("PUT", "/config/{}", _set_config),
    _route("DELETE", "/config/{}", _delete_config),
    _route("GET", "/mode", _mode),
    _route("PUT", "/mode", _set_mode),
    _route("GET", "/mode/{}", _mode),
]
