"""Which file has the schema of an event, and what to say where none has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from kaufmann_celery.config.values import suggestion
from kaufmann_celery.transcoders.subjects import subject_candidates

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann


class SchemaFiles:
    """The .avsc and .json files under a service's `schema_path`."""

    def __init__(self, kaufmann: Kaufmann) -> None:
        self._paths = [path.absolute() for path in kaufmann.config.schema_path]
        self._avro = kaufmann.local_schemas.subjects()
        self._json = {file.name.removesuffix(".json"): file for path in self._paths for file in path.rglob("*.json")}

    def file_of(self, name: str) -> str:
        """Return the file by which events of *name* are written, for a message."""
        return str(self._avro_file(name) or self._json.get(name) or "no schema")

    def missing(self, name: str) -> str:
        """Say that *name* has no schema, where one was looked for, and what the name may have been."""
        files = f"{subject_candidates(name)[-1]}.avsc nor {name}.json"
        paths = ", ".join(f"{path}{'' if path.is_dir() else ' (no such directory)'}" for path in self._paths)
        return f"{name} has no schema: there is neither {files} under {paths}{self._suggestion(name)} (schema_path)"

    def hint(self, name: str) -> str:
        """Return what `missing` says where *name* has no schema; nothing else."""
        known = self._avro_file(name) is not None or name in self._json or subject_candidates(name)[-1] == "event.error"
        return "" if known else self.missing(name)

    def _avro_file(self, name: str) -> Path | None:
        return next((self._avro[one] for one in subject_candidates(name) if one in self._avro), None)

    def _suggestion(self, name: str) -> str:
        return suggestion(name, [*self._avro, *self._json])
