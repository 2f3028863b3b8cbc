"""The service's own schemas: the .avsc files under `schema_path`, as they are registered."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from kaufmann_celery.errors import ConfigError, EventError
from kaufmann_celery.registry.avro_rules import fault_of
from kaufmann_celery.registry.named_types import Incomplete, NamedTypes, named_parts
from kaufmann_celery.transcoders.avro_parse import parse
from kaufmann_celery.transcoders.envelope import envelope_of

_SUFFIX: Final = ".avsc"
_METADATA: Final = "event_metadata"
#: KaufmannEx registers subjects with these in their name as the union [event_metadata, event].
_IN_UNION: Final = re.compile(r"command\.|event\.|query\.")


class LocalSchemas:
    """The schemas in directories, read once. A file's subject is its name less `.avsc`.

    A type that another file defines is written out where a schema first uses it. `event_metadata.avsc` is such a type;
    where there is none, the one that ships is. Directories that do not exist hold no schemas.

    Raises:
        ConfigError: files that are no valid Avro schemas, or two for one subject; each is named.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._files: dict[str, Path] = {}
        self._schemas: dict[str, Any] = {}
        faults = self._read(paths)
        if faults:
            raise ConfigError("\n".join(f"{fault.file}: {fault.reason}" for fault in faults))

    @classmethod
    def and_faults(cls, paths: Iterable[str | Path]) -> tuple[LocalSchemas, list[FileFault]]:
        """Return what there is and is right, and what is wrong with each of the other files."""
        schemas = cls(())
        return schemas, schemas._read(paths)

    def _read(self, paths: Iterable[str | Path]) -> list[FileFault]:
        faults = [fault for path in paths for fault in self._find(Path(path))]
        written: dict[Path, Any] = {}
        for file in self._files.values():
            try:
                written[file] = _parsed_json(file)
            except (OSError, ValueError, RecursionError) as error:
                faults.append(FileFault(file, _reason(error)))
        types = NamedTypes(written)
        metadata = written.get(self._files.get(_METADATA, Path()))
        for subject, file in self._files.items():
            if file not in written:
                continue
            try:
                whole = types.complete(written[file], file)
                if _wants_metadata(subject, whole, written[file]):
                    whole = types.complete(_with_metadata(written[file], metadata), file)
                _check(whole, types)
            except (Incomplete, EventError, RecursionError) as error:
                faults.append(FileFault(file, _reason(error)))
            else:
                self._schemas[subject] = whole
        return faults

    def _find(self, path: Path) -> list[FileFault]:
        faults = []
        for file in sorted(path.rglob(f"*{_SUFFIX}")):
            subject = file.name.removesuffix(_SUFFIX)
            known = self._files.setdefault(subject, file)
            if known.resolve() != file.resolve():
                faults.append(FileFault(file, f"there is {known} for this subject already"))
        return faults

    def subjects(self) -> dict[str, Path]:
        """Every subject with its file, `event_metadata` first: the others may need it registered."""
        right = ((subject, self._files[subject]) for subject in self._schemas)
        return dict(sorted(right, key=lambda item: (item[0] != _METADATA, item[0])))

    def schema(self, subject: str) -> Any | None:
        """The schema (parsed JSON) as it is registered, and read into; None without a file."""
        return self._schemas.get(subject)


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is wrong with one file."""

    file: Path
    reason: str


def shipped_error_schema() -> Any:
    """The schema (parsed JSON, complete) of `event.error`, for registries that have none."""
    return _with_metadata(_shipped("event.error"), None)


def _shipped(name: str) -> Any:
    file = resources.files(__package__) / "shipped" / f"{name}{_SUFFIX}"
    return json.loads(file.read_text(encoding="utf-8"))


def _parsed_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8-sig"))


def _reason(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"is not JSON: {error}"
    if isinstance(error, UnicodeDecodeError):
        return "is not UTF-8"
    return "nests too deep" if isinstance(error, RecursionError) else str(error)


def _wants_metadata(subject: str, whole: Any, written: Any) -> bool:
    """Return whether a schema is registered in a union with `event_metadata`: it refers to it, or KaufmannEx does so.

    Not where the file is a union already, or an envelope that says itself what its meta is. *whole*: complete.
    """
    if subject == _METADATA or isinstance(written, list):
        return False
    if any(_is_metadata(name) for name, part, _ in named_parts(written) if part is not None):
        return False
    if _metadata_name(written) is not None:
        return True
    return bool(_IN_UNION.search(subject)) and not _is_envelope(whole)


def _check(schema: Any, types: NamedTypes) -> None:
    if fault := fault_of(schema):
        raise Incomplete(fault)
    types.check(schema)
    parse(schema)


def _is_envelope(schema: Any) -> bool:
    parsed = parse(schema)
    return envelope_of(parsed.schema, parsed.named) is not None


def _with_metadata(schema: Any, metadata: Any | None) -> Any:
    """Return the union; with the metadata that ships, under the name by which *schema* refers to it, for None."""
    named = _metadata_name(schema)
    if metadata is None:
        metadata = _shipped(_METADATA)
        if named is not None:
            metadata["namespace"], _, metadata["name"] = named.rpartition(".")
    return [metadata, schema]


def _metadata_name(schema: Any) -> str | None:
    """The full name by which the schema refers to the type `event_metadata`, if it does."""
    return next((name for name, part, _ in named_parts(schema) if part is None and _is_metadata(name)), None)


def _is_metadata(name: str) -> bool:
    return name.rpartition(".")[2] == _METADATA
