"""The commands `migrate-schemas` and `reset-schemas`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from kaufmann_celery.cli.failures import failure
from kaufmann_celery.cli.output import as_json_option, execute_option, json_text
from kaufmann_celery.cli.service import log_to_stderr, service

if TYPE_CHECKING:
    from kaufmann_celery.release import SchemaReport


@click.command("migrate-schemas")
@click.option("--check", is_flag=True, help="Register nothing; exit 1 where a schema is not compatible.")
@click.option(
    "--compatibility", metavar="LEVEL",
    help="Ask for this level, NONE for no check; without it for the registry's, BACKWARD where that has none.",
)  # fmt: skip
@as_json_option
@click.pass_context
def migrate_schemas(ctx: click.Context, check: bool, compatibility: str | None, as_json: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Register the schemas under schema_path. Where one is at fault, none is registered.

    Each incompatible field is named: `payload.items[].price: double -> string`.
    """
    from kaufmann_celery import release

    log_to_stderr("WARNING")
    kaufmann = service(ctx)
    reports = _shown(lambda: release.migrate_schemas(kaufmann, check=check, compatibility=compatibility), as_json)
    if faults := [report for report in reports if report.is_fault]:
        done = sum(report.state == "registered" for report in reports)
        raise failure(f"{len(faults)} of {len(reports)} schemas are at fault: {done or 'nothing'} was registered")


@click.command("reset-schemas")
@execute_option
@as_json_option
@click.pass_context
def reset_schemas(ctx: click.Context, execute: bool, as_json: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Delete the subjects of schema_path from the registry, all versions and for good, and register them anew.

    Records that were written by a deleted version can then be read no more, unless it is registered again.
    """
    from kaufmann_celery import release

    log_to_stderr("WARNING")
    kaufmann = service(ctx)
    reports = _shown(lambda: release.reset_schemas(kaufmann, check=not execute), as_json)
    if faults := [report for report in reports if report.is_fault]:
        done = sum(report.state == "reset" for report in reports)
        raise failure(f"{len(faults)} of {len(reports)} schemas are at fault: {done or 'nothing'} was reset")
    if not execute:
        click.echo("nothing was changed: give --execute to delete these versions and register the files", err=True)


def _shown(run: Callable[[], Sequence[SchemaReport]], as_json: bool) -> Sequence[SchemaReport]:  # noqa: FBT001 - a flag of click
    """Print what *run* reports, also where it was interrupted."""
    from kaufmann_celery.release import ReleaseInterrupted

    try:
        reports = run()
    except ReleaseInterrupted as error:
        _print(error.reports, as_json=as_json)
        raise
    _print(reports, as_json=as_json)
    return reports


def _print(reports: Sequence[SchemaReport], *, as_json: bool) -> None:
    if as_json:
        click.echo(json_text([_data(report) for report in reports]))
        return
    for report in reports:
        click.echo(_line(report))


def _data(report: SchemaReport) -> dict[str, Any]:
    return {**dataclasses.asdict(report), "file": os.path.relpath(report.file) if report.file else None}


def _line(report: SchemaReport) -> str:
    word = f"{report.state} {report.id}" if report.id is not None else report.state
    where = os.path.relpath(report.file) if report.file else "ships with kaufmann-celery"
    numbers = ", ".join(map(str, report.versions))
    versions = f"  versions {numbers} {'to be ' * (report.state == 'planned')}deleted" if numbers else ""
    reasons = "".join(f"\n    {reason}" for reason in report.reasons)
    return f"{word:<16} {report.subject}  ({where}){versions}{reasons}"
