"""The commands `config`, `handlers` and `status`: what is set, what is registered, how far the group is."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kaufmann_celery.cli.failures import failure
from kaufmann_celery.cli.output import as_json_option, json_text, table
from kaufmann_celery.cli.service import CONNECT_TIMEOUT_S, NO_HANDLERS, load, log_to_stderr, service

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.handlers import Handler
    from kaufmann_celery.partitions.group_status import GroupStatus, PartitionStatus

_COLUMNS = {
    "PARTITION": "topic and number",
    "OWNER": "the ingester that reads it, as service_id@host; - where none does",
    "COMMITTED": "all before this offset is finished, and reading begins here after a restart",
    "END": "the offset that the next record gets",
    "LAG": "offsets from COMMITTED to END",
    "OUTSTANDING": "events taken and not finished yet",
    "RUNNING": "of these, in a worker now",
    "WAITING": "of these, waiting for their retry",
    "ABOVE": "events finished already, though one before them is not",
    "BLOCKED BY": "offset, name and age of the lowest unfinished event, past which COMMITTED cannot go",
}
_COLUMNS_HELP = "\b\nColumns:\n" + "\n".join(f"  {name:<11}  {meaning}" for name, meaning in _COLUMNS.items())


@click.command()
@as_json_option
@click.pass_context
def config(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Show every setting, and where it came from. Secrets are masked."""
    log_to_stderr("WARNING")
    described = service(ctx).config.describe()
    if as_json:
        click.echo(json_text({one.name: {"value": one.value, "origin": one.origin} for one in described}))
    else:
        click.echo(table(("SETTING", "VALUE", "FROM"), described))


@click.command()
@as_json_option
@click.pass_context
def handlers(ctx: click.Context, as_json: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Show which handler an event goes to, by which task and queue, and the subject of its schema."""
    log_to_stderr("WARNING")
    kaufmann = service(ctx)
    load(kaufmann)
    shown = [_handler(kaufmann, handler) for handler in kaufmann.handlers]
    if as_json:
        click.echo(json_text(shown))
    elif shown:
        click.echo(table([name.upper() for name in shown[0]], [list(one.values()) for one in shown]))
    else:
        click.echo(NO_HANDLERS, err=True)


@click.command(epilog=_COLUMNS_HELP)
@as_json_option
@click.option("--fail-above", metavar="LAG", type=click.IntRange(min=0), help="Exit 1 when more records wait.")
@click.pass_context
def status(ctx: click.Context, as_json: bool, fail_above: int | None) -> None:  # noqa: FBT001 - click calls it by name
    """Show for each partition who has it, how far it is, what is outstanding and what blocks it."""
    from kaufmann_celery.partitions.group_status import read_status

    log_to_stderr("WARNING", kafka=logging.CRITICAL)
    read = read_status(service(ctx), connect_timeout=CONNECT_TIMEOUT_S)
    click.echo(json_text(_status_data(read)) if as_json else _status_text(read))
    if fail_above is not None and read.lag > fail_above:
        raise failure(f"lag {read.lag} is above {fail_above}")


def _handler(kaufmann: Kaufmann, handler: Handler) -> dict[str, str]:
    from kaufmann_celery.errors import EncodeError
    from kaufmann_celery.transcoders.subjects import Subjects

    subjects = Subjects(kaufmann.config)
    return {
        "event": handler.pattern,
        "handler": handler.function_name,
        "task": handler.task_name,
        "queue": kaufmann.queue_of(handler),
        "schema": "-"
        if handler.is_glob
        else subjects.of(handler.pattern, kaufmann.config.default_topic, EncodeError)[-1],
        "source": handler.source.removeprefix(f"{Path.cwd()}{os.sep}"),
    }


def _status_data(read: GroupStatus) -> dict[str, Any]:
    partitions = [{**dataclasses.asdict(one), "lag": one.lag} for one in read.partitions]
    return {**dataclasses.asdict(read), "lag": read.lag, "partitions": partitions}


def _status_text(read: GroupStatus) -> str:
    known = read.state if read.exists else "does not exist yet: no ingester has committed for it"
    lines = [f"group {read.group}: {known}"]
    lines += [f"topic {topic} does not exist" for topic in read.missing_topics]
    if read.partitions:
        lines += [table([*_COLUMNS], [_row(one) for one in read.partitions])]
    return "\n".join([*lines, f"lag {read.lag}"])


def _row(one: PartitionStatus) -> tuple[Any, ...]:
    blocking = "-"
    if one.blocking_offset is not None:
        age = "" if one.blocking_age_s is None else f" for {one.blocking_age_s:.0f} s"
        blocking = f"{one.blocking_offset} {one.blocking_name or ''}".rstrip() + age
    return (
        f"{one.topic}:{one.partition}", one.owner or "-", "-" if one.committed is None else one.committed, one.end,
        one.lag, one.outstanding, one.running, one.waiting_for_retry, one.finished_above, blocking,
    )  # fmt: skip
