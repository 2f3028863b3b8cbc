"""What a release does before its processes start: schemas to the registry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kaufmann_celery.errors import ConfigError
from kaufmann_celery.registry.client import SchemaNotFound, SchemaRegistry, SchemaRejected
from kaufmann_celery.registry.local_schemas import LocalSchemas, shipped_error_schema

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

_ERROR_SUBJECT = "event.error"

#: `compatible`: would be registered, and was not, because of *check* or because another is not compatible.
State = Literal["registered", "unchanged", "compatible", "incompatible", "invalid"]


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What became of one schema."""

    subject: str
    #: None for the one that ships with kaufmann-celery.
    file: Path | None
    state: State
    #: The registry's id where it is registered there.
    id: int | None = None
    #: Why it is incompatible or invalid, one sentence each.
    reasons: tuple[str, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Return whether somebody has to change the schema."""
        return self.state in ("incompatible", "invalid")


def migrate_schemas(app: Kaufmann, *, check: bool = False) -> list[SchemaReport]:
    """Register the schemas under `schema_path`, `event_metadata` first, and `event.error` where there is none.

    All are checked before any is registered; where one is at fault, none is. *check* registers nothing. Blocks
    on the registry; raises `UnavailableError` where it is away, and `ConfigError` where settings are wrong.
    """
    registry = SchemaRegistry(app.config.schema_registry_url)
    try:
        local = LocalSchemas(app.config.schema_path)
    except ConfigError as error:
        return [_invalid(line) for line in str(error).splitlines()]
    found: dict[str, tuple[Path | None, Any]] = {
        subject: (file, local.schema(subject)) for subject, file in local.subjects().items()
    }
    if _ERROR_SUBJECT not in found and not _versions(registry, _ERROR_SUBJECT):
        found[_ERROR_SUBJECT] = (None, shipped_error_schema())
    reports = [_checked(registry, subject, file, schema) for subject, (file, schema) in found.items()]
    if check or any(report.is_fault for report in reports):
        return reports
    return [
        _registered(registry, report, found[report.subject][1]) if report.state == "compatible" else report
        for report in reports
    ]


def _checked(registry: SchemaRegistry, subject: str, file: Path | None, schema: Any) -> SchemaReport:
    known = _known_id(registry, subject, schema)
    if known is not None:
        return SchemaReport(subject, file, "unchanged", known)
    try:
        reasons = registry.check_compatibility(subject, schema)
    except SchemaRejected as error:
        return SchemaReport(subject, file, "invalid", reasons=(str(error),))
    if reasons:
        return SchemaReport(subject, file, "incompatible", reasons=tuple(reasons))
    return SchemaReport(subject, file, "compatible")


def _registered(registry: SchemaRegistry, report: SchemaReport, schema: Any) -> SchemaReport:
    before = {registry.version(report.subject, number).id for number in _versions(registry, report.subject)}
    try:
        schema_id = registry.register(report.subject, schema)
    except SchemaRejected as error:
        return SchemaReport(report.subject, report.file, "incompatible", reasons=(str(error),))
    # A registry may hold it in another form, and know it all the same.
    return SchemaReport(report.subject, report.file, "unchanged" if schema_id in before else "registered", schema_id)


def _known_id(registry: SchemaRegistry, subject: str, schema: Any) -> int | None:
    """Return the id of the version of *subject* that is *schema*; None where there is none. The newest first."""
    for number in reversed(_versions(registry, subject)):
        version = registry.version(subject, number)
        if _plain(version.schema) == _plain(schema):
            return version.id
    return None


def _plain(schema: Any) -> Any:
    """Return *schema* without the empty namespaces that registries drop."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if isinstance(schema, dict):
        return {key: _plain(part) for key, part in schema.items() if (key, part) != ("namespace", "")}
    return schema


def _versions(registry: SchemaRegistry, subject: str) -> list[int]:
    try:
        return registry.versions(subject)
    except SchemaNotFound:
        return []


def _invalid(fault: str) -> SchemaReport:
    file, colon, reason = fault.partition(": ")
    return SchemaReport(Path(file).stem, Path(file) if colon else None, "invalid", reasons=(reason or fault,))
