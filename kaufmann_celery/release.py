"""What a release does before its processes start: schemas to the registry, a service's state made anew.

*app* is the service's `Kaufmann`, or the Celery app that runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from kaufmann_celery.config import Config
from kaufmann_celery.errors import ConfigError, EventError, UnavailableError
from kaufmann_celery.registry.client import RegisteredSchema, SchemaNotFound, SchemaRegistry, SchemaRejected
from kaufmann_celery.registry.local_schemas import FileFault, LocalSchemas, shipped_error_schema
from kaufmann_celery.tasks.celery_app import ServiceApp, kaufmann_of
from kaufmann_celery.transcoders.avro_compatibility import misfits
from kaufmann_celery.transcoders.avro_parse import ParsedSchema, parse

if TYPE_CHECKING:
    from kaufmann_celery.operations.reinit import Replayed

_ERROR_SUBJECT = "event.error"

#: As registries name them.
LEVELS = (
    "NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE",
)  # fmt: skip

#: `compatible`: would be registered, and was not, because of *check* or because another is at fault. `planned`: would
#: be reset. `deleted`: and not registered again yet. `refused`: by the registry, though all had been checked.
State = Literal[
    "registered", "unchanged", "compatible", "incompatible", "invalid", "planned", "deleted", "reset", "refused"
]


@dataclass(frozen=True, slots=True)
class SchemaReport:
    """What became of one schema."""

    subject: str
    #: None for the one that ships with kaufmann-celery.
    file: Path | None
    state: State
    #: The registry's id where it is registered there.
    id: int | None = None
    #: Why it is incompatible, invalid or refused, one sentence each.
    reasons: tuple[str, ...] = ()
    #: The versions that a reset deletes, or has deleted.
    versions: tuple[int, ...] = ()

    @property
    def is_fault(self) -> bool:
        """Return whether somebody has to change the schema, or something about the registry."""
        return self.state in ("incompatible", "invalid", "refused")


class ReleaseInterrupted(UnavailableError):
    """The schema registry went away in the middle. Run the command again: it goes on with what is left."""

    def __init__(self, message: str, reports: Iterable[SchemaReport]) -> None:
        super().__init__(message)
        #: How far each schema had come.
        self.reports = list(reports)


def migrate_schemas(app: ServiceApp, *, check: bool = False, compatibility: str | None = None) -> list[SchemaReport]:
    """Register the schemas under `schema_path`, `event_metadata` first, and `event.error` where there is none.

    All are checked before any is registered; where one is at fault, none is. *check* registers nothing.
    *compatibility* is one of `LEVELS`; None is what the registry says of the subject, `BACKWARD` where it says `NONE`.

    Blocks on the registry; raises `UnavailableError` where it is away, `ReleaseInterrupted` where that came after some
    were registered, and `ConfigError` where settings are wrong.
    """
    if compatibility not in (None, *LEVELS):
        raise ConfigError(f"compatibility must be one of {', '.join(LEVELS)}")
    config = kaufmann_of(app).config
    _check_there(config)
    registry = SchemaRegistry(config.schema_registry_url)
    local, faults = LocalSchemas.and_faults(config.schema_path)
    schemas = _schemas(local)
    if _ERROR_SUBJECT not in schemas and not _versions(registry, _ERROR_SUBJECT):
        schemas[_ERROR_SUBJECT] = (None, shipped_error_schema())
    checks = _Checks(registry, compatibility)
    reports = [checks.of(subject, file, schema) for subject, (file, schema) in schemas.items()]
    reports += map(_invalid, faults)
    if check or any(report.is_fault for report in reports):
        return reports
    for at, report in enumerate(reports):
        if report.state == "compatible":
            try:
                reports[at] = _registered(registry, report, schemas[report.subject][1])
            except UnavailableError as error:
                raise ReleaseInterrupted(f"not all are registered: {error}", reports) from error
    return reports


def _check_there(config: Config) -> None:
    """Raise `ConfigError` where there is no such directory; without one the default is as if it were empty."""
    origin = config.origin("schema_path")
    missing = [str(path) for path in config.schema_path if not path.is_dir()]
    if missing and origin != "default":
        raise ConfigError(f"schema_path: {', '.join(missing)}: no such directory (from {origin})")


def reset_schemas(app: ServiceApp, *, check: bool = False) -> list[SchemaReport]:
    """Delete the subjects of `schema_path` from the registry, all versions and for good, and register them anew.

    Records that were written by a deleted version can be read no more, unless it is one of those registered now.
    Where a file is at fault nothing is deleted, and nothing with *check* either. Blocks and raises as
    `migrate_schemas`; called again after an interruption, it goes on.
    """
    config = kaufmann_of(app).config
    _check_there(config)
    registry = SchemaRegistry(config.schema_registry_url)
    local, faults = LocalSchemas.and_faults(config.schema_path)
    schemas = _schemas(local)
    reports = {
        subject: _to_be_reset(registry, subject, file, schema) for subject, (file, schema) in schemas.items()
    } | {f"{fault.file}": _invalid(fault) for fault in faults}
    if not check and not any(report.is_fault for report in reports.values()):
        try:
            # What others may refer to goes last, and comes first.
            for subject in reversed(schemas):
                reports[subject] = _deleted(registry, reports[subject])
            for subject, (_, schema) in schemas.items():
                reports[subject] = _registered_anew(registry, reports[subject], schema)
        except UnavailableError as error:
            raise ReleaseInterrupted(f"not all are registered again: {error}", reports.values()) from error
    return list(reports.values())


def reinit_service(
    app: ServiceApp,
    starting_offset: str | int = "earliest",
    target_offset: str | int = "latest",
    publish: bool = False,  # noqa: FBT001, FBT002 - KaufmannEx's arguments, in its order
    *,
    anew: bool = False,
) -> Replayed:
    """Replay what the service consumes, in each partition from *starting_offset* up to *target_offset*. Blocks.

    Each is `earliest`, `latest`, `committed`, an offset, or a time (`2026-01-31T12:00:00`, `24h`); to start at 0 is to
    start at `earliest`. Handlers run in the service's workers; what they emit is published only with *publish*. In the
    end the group's offsets are at the target. One that was ended in the middle goes on with the next call for the same;
    *anew* forgets it.

    Raises `KaufmannError` where the group is active or there are no such places, and `UnavailableError`.
    """
    from kaufmann_celery.operations.begun import Asked
    from kaufmann_celery.operations.progress import SaidNowAndThen, logged
    from kaufmann_celery.operations.reinit import plan_reinit, reinit

    kaufmann = kaufmann_of(app)
    plan = plan_reinit(kaufmann, Asked.between(starting_offset, target_offset, publish=publish), anew=anew)
    return reinit(kaufmann, plan, tell=SaidNowAndThen(plan.left, logged("reinit")))


class _Checks:
    """Holds schemas against what is registered."""

    def __init__(self, registry: SchemaRegistry, level: str | None) -> None:
        self._registry = registry
        self._level = level

    def of(self, subject: str, file: Path | None, schema: Any) -> SchemaReport:
        versions = _versions(self._registry, subject)
        known = self._known_id(subject, schema, versions)
        if known is not None:
            return SchemaReport(subject, file, "unchanged", known)
        try:
            registrys = self._registry.check_compatibility(subject, schema)
        except SchemaRejected as error:
            return SchemaReport(subject, file, "invalid", reasons=(str(error),))
        level = self._level or self._registrys_level(subject)
        # A registry says that something is wrong, hardly ever what.
        reasons = self._misfits(subject, parse(schema), versions, level) or (registrys if level != "NONE" else [])
        return SchemaReport(subject, file, "incompatible" if reasons else "compatible", reasons=tuple(reasons))

    def _known_id(self, subject: str, schema: Any, versions: list[int]) -> int | None:
        """Return the id of the version of *subject* that is *schema*; None where there is none. The newest first."""
        for number in reversed(versions):
            version = self._registry.version(subject, number)
            if _plain(version.schema) == _plain(schema):
                return version.id
        return None

    def _registrys_level(self, subject: str) -> str:
        # Some registries enforce nothing until they are told to; our readers need what was written before.
        level = self._registry.compatibility(subject)
        return level if level in LEVELS and level != "NONE" else "BACKWARD"

    def _misfits(self, subject: str, ours: ParsedSchema, versions: list[int], level: str) -> list[str]:
        found: list[str] = []
        if level == "NONE":
            return found
        for number in reversed(versions if level.endswith("_TRANSITIVE") else versions[-1:]):
            theirs = self._parsed(self._registry.version(subject, number))
            if theirs is None:
                continue
            where = "" if number == versions[-1] else f"version {number}: "
            if not level.startswith("FORWARD"):
                found += [f"{where}{one}" for one in misfits(ours, theirs)]
            if not level.startswith("BACKWARD"):
                found += [f"{where}{one}, for those who know only what is registered" for one in misfits(theirs, ours)]
        return found

    def _parsed(self, version: RegisteredSchema) -> ParsedSchema | None:
        try:
            return parse(version.schema, self._registry.references_of(version))
        except EventError:
            return None  # then the registry's own check has to do


def _schemas(local: LocalSchemas) -> dict[str, tuple[Path | None, Any]]:
    return {subject: (file, local.schema(subject)) for subject, file in local.subjects().items()}


def _registered(registry: SchemaRegistry, report: SchemaReport, schema: Any) -> SchemaReport:
    before = {registry.version(report.subject, number).id for number in _versions(registry, report.subject)}
    try:
        schema_id = registry.register(report.subject, schema)
    except SchemaRejected as error:
        return replace(report, state="refused", reasons=(str(error),))
    # A registry may hold it in another form, and know it all the same.
    return replace(report, state="unchanged" if schema_id in before else "registered", id=schema_id)


def _to_be_reset(registry: SchemaRegistry, subject: str, file: Path | None, schema: Any) -> SchemaReport:
    versions = tuple(_versions(registry, subject))
    try:
        registry.check_compatibility(subject, schema)
    except SchemaRejected as error:
        return SchemaReport(subject, file, "invalid", reasons=(str(error),), versions=versions)
    return SchemaReport(subject, file, "planned", versions=versions)


def _deleted(registry: SchemaRegistry, report: SchemaReport) -> SchemaReport:
    reasons: tuple[str, ...] = ()
    for permanent in (False, True):
        try:
            registry.delete_subject(report.subject, permanent=permanent)
        except SchemaNotFound:
            continue  # not there, or only marked as deleted by a reset that was interrupted
        except SchemaRejected as error:
            reasons = (f"not deleted: {error}",)
            break
    return replace(report, state="deleted", reasons=reasons)


def _registered_anew(registry: SchemaRegistry, report: SchemaReport, schema: Any) -> SchemaReport:
    """Register it, also where it could not be deleted wholly: nobody shall miss it."""
    try:
        schema_id = registry.register(report.subject, schema)
    except SchemaRejected as error:
        return replace(report, state="refused", reasons=(*report.reasons, str(error)))
    return replace(report, state="refused" if report.reasons else "reset", id=schema_id)


def _plain(schema: Any) -> Any:
    """Return *schema* without the empty namespaces that registries drop."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if isinstance(schema, Mapping):
        return {key: _plain(part) for key, part in schema.items() if (key, part) != ("namespace", "")}
    return schema


def _versions(registry: SchemaRegistry, subject: str) -> list[int]:
    try:
        return registry.versions(subject)
    except SchemaNotFound:
        return []


def _invalid(fault: FileFault) -> SchemaReport:
    return SchemaReport(fault.file.name.removesuffix(".avsc"), fault.file, "invalid", reasons=(fault.reason,))
