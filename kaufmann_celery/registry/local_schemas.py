"""The service's own schemas: the .avsc files under `schema_path`, as they are registered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final

from kaufmann_celery.errors import ConfigError, EventError
from kaufmann_celery.transcoders.avro_parse import parse

_SUFFIX: Final = ".avsc"
_METADATA: Final = "event_metadata"
#: KaufmannEx registers subjects with these in their name as the union [event_metadata, event].
_IN_UNION: Final = re.compile(r"command\.|event\.|query\.")


class LocalSchemas:
    """The schemas in directories, read once. A file's subject is its name less `.avsc`.

    `event_metadata.avsc` is a type that the others may use; where there is none, the one that ships is.
    Directories that do not exist hold no schemas.

    Raises:
        ConfigError: files that are no valid Avro schemas, or two for one subject; each is named.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._files: dict[str, Path] = {}
        faults = [fault for path in paths for fault in self._find(Path(path))]
        self._schemas: dict[str, Any] = {}
        metadata = self._files.get(_METADATA)
        for subject, file in self._files.items():
            try:
                own = None if metadata is None else _parsed_json(metadata)
                self._schemas[subject] = _as_registered(subject, _parsed_json(file), own)
                parse(self._schemas[subject])
            except (OSError, ValueError, EventError) as error:
                faults.append(f"{file}: {error}")
        if faults:
            raise ConfigError("\n".join(dict.fromkeys(faults)))

    def _find(self, path: Path) -> list[str]:
        faults = []
        for file in sorted(path.rglob(f"*{_SUFFIX}")):
            subject = file.name.removesuffix(_SUFFIX)
            if subject in self._files and self._files[subject].resolve() != file.resolve():
                faults.append(f"{file}: there is {self._files[subject]} for this subject already")
            self._files.setdefault(subject, file)
        return faults

    def subjects(self) -> dict[str, Path]:
        """Every subject with its file, `event_metadata` first: the others may need it registered."""
        return dict(sorted(self._files.items(), key=lambda item: (item[0] != _METADATA, item[0])))

    def schema(self, subject: str) -> Any | None:
        """The schema (parsed JSON) as it is registered, and read into; None without a file."""
        return self._schemas.get(subject)


def shipped_error_schema() -> Any:
    """The schema (parsed JSON, complete) of `event.error`, for registries that have none."""
    return _as_registered("event.error", _shipped("event.error"), None)


def _shipped(name: str) -> Any:
    file = resources.files(__package__) / "shipped" / f"{name}{_SUFFIX}"
    return json.loads(file.read_text(encoding="utf-8"))


def _parsed_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8-sig"))


def _as_registered(subject: str, schema: Any, metadata: Any | None) -> Any:
    """With `event_metadata` before it in a union, where KaufmannEx does so or the schema needs the type."""
    if subject == _METADATA or isinstance(schema, list):
        return schema
    named = _metadata_name(schema)
    defined = any(_name(part).rpartition(".")[2] == _METADATA for part in _definitions(schema))
    if defined or (named is None and not _IN_UNION.search(subject)):
        return schema
    if metadata is None:
        metadata = _shipped(_METADATA)
        if named is not None:
            metadata["namespace"], _, metadata["name"] = named.rpartition(".")
    return [metadata, schema]


def _metadata_name(schema: Any) -> str | None:
    """The name by which the schema refers to the type `event_metadata`, if it does."""
    return next((name for name in _references(schema) if name.rpartition(".")[2] == _METADATA), None)


def _references(schema: Any) -> list[str]:
    if isinstance(schema, str):
        return [schema]
    return [name for part in _parts(schema) for name in _references(part)]


def _definitions(schema: Any) -> list[dict[str, Any]]:
    own = [schema] if isinstance(schema, dict) and "name" in schema else []
    return own + [found for part in _parts(schema) for found in _definitions(part)]


def _parts(schema: Any) -> Sequence[Any]:
    """The schemas that a schema holds."""
    if isinstance(schema, list):
        return schema
    if not isinstance(schema, dict):
        return []
    fields = schema.get("fields")
    types = [field.get("type") for field in fields if isinstance(field, dict)] if isinstance(fields, list) else []
    return types + [schema[part] for part in ("type", "items", "values") if part in schema]


def _name(schema: dict[str, Any]) -> str:
    return str(schema["name"])
