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
from kaufmann_celery.transcoders.subjects import NO_SUBJECTS

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
        self._alone: dict[str, Any] = {}
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
        for subject, file in sorted(self._files.items(), key=_metadata_first):
            if file not in written:
                continue
            try:
                self._schemas[subject] = self._whole(subject, written[file], types)
            except (Incomplete, EventError, RecursionError) as error:
                faults.append(FileFault(file, _reason(error)))
        return faults

    def _whole(self, subject: str, written: Any, types: NamedTypes) -> Any:
        """Return the schema as it is registered. Raise what is wrong with it."""
        file = self._files[subject]
        whole = types.complete(written, file)
        is_named = _metadata_name(written) is not None
        if not is_named:
            _check(whole, types)
        if not _wants_metadata(subject, written):
            return whole
        union = types.complete(_with_metadata(written, self._metadata()), file)
        if not is_named:
            if not _is_defined_once(union):
                return whole
            self._alone[subject] = whole
        _check(union, types)
        return union

    def _metadata(self) -> Any | None:
        """Return the service's own `event_metadata`, None where it has none."""
        file = self._files.get(_METADATA)
        if file is not None and _METADATA not in self._schemas:
            raise Incomplete(f"is registered with {_METADATA}, and {file} is at fault: mend that one first")
        return self._schemas.get(_METADATA)

    def _find(self, path: Path) -> list[FileFault]:
        faults = []
        for file in sorted(path.rglob(f"*{_SUFFIX}")):
            subject = file.name.removesuffix(_SUFFIX)
            if subject in NO_SUBJECTS:
                faults.append(FileFault(file, f"its name less {_SUFFIX} is its subject, and {subject!r} can be none"))
                continue
            known = self._files.setdefault(subject, file)
            if known.resolve() != file.resolve():
                faults.append(FileFault(file, f"there is {known} for this subject already"))
        return faults

    def subjects(self) -> dict[str, Path]:
        """Every subject with its file, `event_metadata` first: the others may need it registered."""
        right = ((subject, self._files[subject]) for subject in self._schemas)
        return dict(sorted(right, key=_metadata_first))

    def schema(self, subject: str) -> Any | None:
        """The schema (parsed JSON) as it is registered, and read into; None without a file."""
        return self._schemas.get(subject)

    def without_metadata(self, subject: str) -> Any | None:
        """The same as its file has it; None where that is the same, or needs `event_metadata`."""
        return self._alone.get(subject)


@dataclass(frozen=True, slots=True)
class FileFault:
    """What is wrong with one file."""

    file: Path
    reason: str


def _metadata_first(item: tuple[str, Path]) -> tuple[bool, str]:
    return item[0] != _METADATA, item[0]


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


def _wants_metadata(subject: str, written: Any) -> bool:
    """Return whether a schema is registered in a union with `event_metadata`: it refers to it, or KaufmannEx does so.

    Not where the file is a union already, or defines such a type itself.
    """
    if subject == _METADATA or isinstance(written, list):
        return False
    if any(_is_metadata(name) for name in _defined_in(written)):
        return False
    return _metadata_name(written) is not None or bool(_IN_UNION.search(subject))


def _defined_in(schema: Any) -> list[str]:
    return [name for name, part, _ in named_parts(schema) if part is not None]


def _is_defined_once(schema: Any) -> bool:
    names = _defined_in(schema)
    return len(set(names)) == len(names)


def _check(schema: Any, types: NamedTypes) -> None:
    if fault := fault_of(schema):
        raise Incomplete(fault)
    types.check(schema)
    parse(schema)


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
