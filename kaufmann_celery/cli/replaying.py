"""The command `reinit-service`: the service's events handled again, from one place to another."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING

import click

from kaufmann_celery.cli.failures import failure
from kaufmann_celery.cli.ingest import StopSignals
from kaufmann_celery.cli.moving import topic_option
from kaufmann_celery.cli.output import as_json_option, execute_option, json_text, table
from kaufmann_celery.cli.service import load, log_to_stderr, service

if TYPE_CHECKING:
    from kaufmann_celery.operations.begun import Asked, Part, Reinit


@click.command("reinit-service")
@click.option("--from", "begin", metavar="PLACE", help="earliest (the default), an offset, or a time as below.")
@click.option("--to", "end", metavar="PLACE", help="latest (the default), committed, an offset, or a time.")
@click.option("--publish", is_flag=True, help="Publish what handlers emit, and error events; else nothing is.")
@click.option("--anew", is_flag=True, help="Forget what an earlier call began.")
@topic_option
@execute_option
@as_json_option
@click.pass_context
def reinit_service(
    ctx: click.Context, begin: str | None, end: str | None, publish: bool, anew: bool, topics: tuple[str, ...],  # noqa: FBT001 - click calls it by name
    execute: bool, as_json: bool,  # noqa: FBT001 - click calls it by name
) -> None:  # fmt: skip
    """Handle the service's events again, in each partition from one place up to another, and publish nothing.

    Runs in the service's workers; its ingesters must be stopped. Leaves the group at the end. A call that was ended in
    the middle is gone on with by the next one. A time is 2026-01-31T12:00:00 (UTC), or 24h for that long ago.
    """
    from kaufmann_celery.cli.progress_bar import shown
    from kaufmann_celery.operations.reinit import plan_reinit, reinit

    log_to_stderr("WARNING", kafka=logging.CRITICAL)
    # A stop that comes while all is being prepared is kept for the ingester.
    signals = StopSignals() if execute else None
    kaufmann = service(ctx)
    load(kaufmann)
    plan = plan_reinit(kaufmann, _asked(begin, end, publish=publish, topics=topics), anew=anew)
    click.echo(json_text(_data(plan)) if as_json else _text(kaufmann.config.consumer_group, plan))
    if signals is None:
        click.echo("nothing was changed: give --execute to begin", err=True)
        return
    done = reinit(kaufmann, plan, tell=shown("reinit", plan.left), starting=signals.stop_by)
    click.echo(f"{done.handled} events handled, {done.failed} failed, {done.published} records published", err=True)
    if not done.is_done:
        raise failure("stopped before the end: the same command goes on")


def _asked(begin: str | None, end: str | None, *, publish: bool, topics: tuple[str, ...]) -> Asked | None:
    """Return what is asked for; None where nothing is said, so that whatever was begun goes on."""
    from kaufmann_celery.operations.begun import Asked

    if begin is None and end is None and not publish and not topics:
        return None
    return Asked(begin or "earliest", end or "latest", publish, topics)


def _data(plan: Reinit) -> dict[str, object]:
    parts = [{**dataclasses.asdict(part), "left": part.end - part.reached} for part in plan.parts]
    return {**dataclasses.asdict(plan.asked), "goes_on": plan.goes_on, "left": plan.left, "partitions": parts}


def _text(group: str, plan: Reinit) -> str:
    lines = [f"reinit of group {group}{', begun before, goes on' * plan.goes_on}: {plan.asked}"]
    head = ("PARTITION", "FROM", "TO", "LEFT", "GROUP AT")
    lines.append(table(head, [_row(part) for part in plan.parts]))
    if not plan.left:
        lines.append("there is nothing to replay")
    if not plan.asked.publish:
        lines.append("nothing is published")
        if new := sum(part.never_handled for part in plan.parts):
            lines.append(
                f"{new} records are new to the group: what they cause is never published either; "
                "--to committed leaves them to the ingesters"
            )
    if again := sum(part.handled_again for part in plan.parts):
        lines.append(f"{again} records behind the end are not new to the group: its ingesters will handle them again")
    return "\n".join(lines)


def _row(part: Part) -> tuple[object, ...]:
    at = "-" if part.committed is None else part.committed
    left = part.end - part.reached if part.end > part.first else "no records"
    return f"{part.topic}:{part.partition}", part.begin, part.end, left, at
