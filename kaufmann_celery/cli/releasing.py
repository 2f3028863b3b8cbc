"""The command `migrate-schemas`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from kaufmann_celery.cli.failures import failure
from kaufmann_celery.cli.service import log_to_stderr, service

if TYPE_CHECKING:
    from kaufmann_celery.release import SchemaReport


@click.command("migrate-schemas")
@click.option("--check", is_flag=True, help="Register nothing; exit 1 where a schema is not compatible.")
@click.pass_context
def migrate_schemas(ctx: click.Context, check: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Register the schemas under schema_path. Where one is at fault, none is registered."""
    from kaufmann_celery import release

    log_to_stderr("WARNING")
    reports = release.migrate_schemas(service(ctx), check=check)
    for report in reports:
        click.echo(_line(report))
    faults = [report for report in reports if report.is_fault]
    if faults:
        raise failure(f"{len(faults)} of {len(reports)} schemas are at fault: nothing was registered")


def _line(report: SchemaReport) -> str:
    word = f"{report.state} {report.id}" if report.id is not None else report.state
    where = os.path.relpath(report.file) if report.file else "ships with kaufmann-celery"
    reasons = "".join(f"\n    {reason}" for reason in report.reasons)
    return f"{word:<16} {report.subject}  ({where}){reasons}"
