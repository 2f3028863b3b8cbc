"""The service's JSON Schemas: the .json files under `schema_path`. The library jsonschema stays here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kaufmann_celery.errors import ConfigError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_SUFFIX: Final = ".json"
_SHOWN: Final = 100


class JsonSchemas:
    """The schemas in directories, read once. A file is for the events of its name less `.json`.

    A `$ref` may name another of the files; nothing is fetched.

    Raises:
        ConfigError: files that are no valid JSON Schemas, or two for one event; each is named.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        schemas, faults = _read(paths)
        if faults:
            raise ConfigError("\n".join(f"{file}: {reason}" for file, reason in faults))
        self._validators = _validators(schemas) if schemas else {}

    def __contains__(self, name: str) -> bool:
        return name in self._validators

    def fault(self, name: str, payload: Any) -> str | None:
        """Return what is wrong with *payload* (parsed JSON) and where, never the value; None where it is valid."""
        validator = self._validators.get(name)
        if validator is None:
            return None
        from jsonschema.exceptions import best_match
        from referencing.exceptions import Unresolvable

        try:
            error: ValidationError | None = best_match(validator.iter_errors(payload))
        except Unresolvable as unresolved:
            return f"{name}{_SUFFIX} refers to {unresolved.ref}, which no file under schema_path has"
        except RecursionError:
            return "payload: nests too deep"
        return None if error is None else _located(error)


def faults_of(paths: Iterable[str | Path]) -> list[tuple[Path, str]]:
    """Return the files that are no JSON Schemas, or second ones for one event, and why. Raises `ConfigError`."""
    return _read(paths)[1]


def _read(paths: Iterable[str | Path]) -> tuple[dict[str, Any], list[tuple[Path, str]]]:
    """Return the schemas by their events' names, and what is wrong with the other files."""
    schemas: dict[str, Any] = {}
    faults: list[tuple[Path, str]] = []
    found: dict[str, Path] = {}
    for file in (file for path in paths for file in sorted(Path(path).rglob(f"*{_SUFFIX}"))):
        name = file.name.removesuffix(_SUFFIX)
        try:
            schema = _schema(file)
        except (OSError, ValueError, TypeError, RecursionError) as error:
            faults.append((file, f"it is no JSON Schema: {error}"))
            continue
        known = found.setdefault(name, file)
        if known.resolve() != file.resolve():
            faults.append((file, f"there is {known} for this event already"))
        else:
            schemas[name] = schema
    return schemas, faults


def _schema(file: Path) -> Any:
    """Return the schema in *file*. Raises `ValueError` and others where it is none."""
    try:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for
    except ImportError as error:
        raise ConfigError(f"schema_path: {file} needs jsonschema: pip install 'kaufmann-celery[json]'") from error
    schema = json.loads(file.read_text(encoding="utf-8-sig"))
    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as error:
        raise ValueError(error.message) from error
    return schema


def _validators(schemas: Mapping[str, Any]) -> dict[str, Validator]:
    from jsonschema.validators import Draft202012Validator, validator_for
    from referencing import Registry, Resource
    from referencing.jsonschema import DRAFT202012

    resources = [
        (f"{name}{_SUFFIX}", Resource.from_contents(schema, default_specification=DRAFT202012))
        for name, schema in schemas.items()
    ]
    registry: Registry[Any] = Registry().with_resources(resources).crawl()
    return {
        name: validator_for(schema, default=Draft202012Validator)(schema, registry=registry)
        for name, schema in schemas.items()
    }


def _located(error: ValidationError) -> str:
    """Return the field's path and the rule that it breaks. Keys that the schema does not name are data."""
    named = set(error.absolute_schema_path)
    parts = (
        f"[{part}]" if isinstance(part, int) else f".{part}" if part in named else "[…]" for part in error.absolute_path
    )
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return f"payload{''.join(parts)}.{missing[0]}: missing"
    rule = json.dumps({error.validator: error.validator_value}, default=str)
    shown = rule if len(rule) <= _SHOWN else f"{rule[:_SHOWN]}…"
    return f"payload{''.join(parts)}: breaks the rule {shown}"
