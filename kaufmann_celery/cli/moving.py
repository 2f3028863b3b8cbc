"""The command `offsets reset`: the group's offsets, moved while it has no members."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kaufmann_celery.cli.failures import failure
from kaufmann_celery.cli.output import as_json_option, execute_option, json_text, table
from kaufmann_celery.cli.service import log_to_stderr, service

if TYPE_CHECKING:
    from kaufmann_celery.kafka_io.group_offsets import KafkaView
    from kaufmann_celery.operations.offsets import Move
    from kaufmann_celery.operations.places import Place

_FORMS = ("to_earliest", "to_latest", "to_offset", "to_datetime", "shift_by")


def checked_topics(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the texts where each is `T` or `T:P,…`."""
    from kaufmann_celery.operations.offsets import choice_of
    from kaufmann_celery.operations.places import NoSuchPlace

    try:
        choice_of(texts)
    except NoSuchPlace as error:
        raise click.BadParameter(str(error), ctx, param) from error
    return texts


topic_option = click.option(
    "--topic", "topics", metavar="T[:P,…]", multiple=True, callback=checked_topics,
    help="Only this topic, or these partitions of it; may be given more than once.",
)  # fmt: skip


@click.group()
def offsets() -> None:
    """Move the consumer group's offsets."""


@offsets.command()
@click.option("--to-earliest", is_flag=True, help="To the first record that is there.")
@click.option("--to-latest", is_flag=True, help="To the end: what is there now is never handled.")
@click.option("--to-offset", type=click.IntRange(min=0), metavar="N", help="To this offset of each partition.")
@click.option("--to-datetime", metavar="T", help="To the first record not older: 2026-01-31T12:00:00 (UTC), or 24h.")
@click.option("--shift-by", type=int, metavar="N", help="By so many offsets; back where negative. Ends at the bounds.")
@topic_option
@execute_option
@as_json_option
@click.pass_context
def reset(ctx: click.Context, /, topics: tuple[str, ...], execute: bool, as_json: bool, **forms: Any) -> None:  # noqa: FBT001 - click calls it by name
    """Move the group to another place in each partition, and its ledger with it.

    Shows from where to where; does it with --execute. Refused while the group has members.
    """
    from kaufmann_celery.operations.offsets import choice_of, move, plan_moves, refuse_active

    log_to_stderr("WARNING", kafka=logging.CRITICAL)
    place = _place(ctx, forms)
    kaufmann = service(ctx)
    view, moves = plan_moves(kaufmann, place, choice_of(topics))
    if not (execute and as_json):
        _show(kaufmann.config.consumer_group, view, moves, as_json=as_json, executed=False)
    refuse_active(view, kaufmann.config)
    if not execute:
        click.echo("nothing was changed: give --execute to move the offsets", err=True)
        return
    move(kaufmann, {one.where: one.after for one in moves})
    if as_json:
        _show(kaufmann.config.consumer_group, view, moves, as_json=True, executed=True)
    else:
        click.echo(f"moved {len(moves)} partitions of group {kaufmann.config.consumer_group}")


def _place(ctx: click.Context, forms: dict[str, Any]) -> Place:
    from kaufmann_celery.operations.places import Place, milliseconds, time_of

    given = [(name, value) for name, value in forms.items() if value is not None and value is not False]
    if len(given) != 1:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in _FORMS)
        raise click.UsageError(f"where to? Give {'only ' if given else ''}one of {names}", ctx)
    name, value = given[0]
    if name == "to_datetime":
        return Place("time", milliseconds(time_of(value)))
    if name in ("to_earliest", "to_latest"):
        return Place("earliest" if name == "to_earliest" else "latest")
    return Place("offset" if name == "to_offset" else "shift", value)


def _show(group: str, view: KafkaView, moves: Sequence[Move], *, as_json: bool, executed: bool) -> None:
    if as_json:
        partitions = [{**dataclasses.asdict(one), "effect": one.effect} for one in moves]
        click.echo(json_text({"group": group, "state": view.state, "executed": executed, "partitions": partitions}))
        return
    if not moves:
        raise failure("no partition is meant")
    head = ("PARTITION", "FROM", "TO", "FIRST", "END", "RECORDS")
    rows = [
        (
            f"{one.topic}:{one.partition}",
            "-" if one.before is None else one.before,
            one.after,
            one.first,
            one.end,
            one.effect,
        )
        for one in moves
    ]
    click.echo(f"group {group}: {view.state if view.state != 'Dead' else 'does not exist yet'}")
    click.echo(table(head, rows))
    if forgotten := sum(one.outstanding for one in moves):
        click.echo(f"{forgotten} events are outstanding: what workers still make of them will not count")
