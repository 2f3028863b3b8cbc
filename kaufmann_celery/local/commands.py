"""The commands `local up|down|status|env|reset`."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import click

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local.stack import NAMES, LocalStack


class _Group(click.Group):
    """Shows an error of the stack as one message and exits with 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LocalStackError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
def local() -> None:
    """Real Kafka, Redis and schema registry on this machine, for demo, development and tests."""


_directory = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".kaufmann"),
    show_default=True,
    help="Where ports, data and logs are kept.",
)
_only = click.option(
    "--only", "only", type=click.Choice(NAMES), multiple=True, help="This service alone; repeat for more."
)


@local.command()
@_directory
@_only
def up(directory: Path, only: tuple[str, ...]) -> None:
    """Start what does not run yet, wait until it answers, and print the settings to use."""
    stack = LocalStack(directory, services=only or NAMES)
    _print_settings(stack.up(progress=lambda line: click.echo(line, err=True)))


@local.command()
@_directory
@_only
def down(directory: Path, only: tuple[str, ...]) -> None:
    """Stop what `up` started. Data stays."""
    stopped = LocalStack(directory, services=only or NAMES).down()
    click.echo(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


@local.command()
@_directory
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object per service.")
def status(directory: Path, as_json: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Show what runs, and where."""
    states = LocalStack(directory).status()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(one) for one in states], default=str, indent=2))
        return
    for one in states:
        where = f"{one.address} (pid {one.pid})" if one.state == "running" else ""
        click.echo(f"{one.name:<10}{one.state:<10}{where or one.log}")


@local.command()
@_directory
@click.option("--json", "as_json", is_flag=True, help="As JSON, one object.")
def env(directory: Path, as_json: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Print the settings of the running stack, for `eval "$(kaufmann local env)"`."""
    settings = LocalStack(directory).env()
    if as_json:
        click.echo(json.dumps(settings, indent=2))
    else:
        _print_settings(settings)


@local.command()
@_directory
@_only
@click.option("--execute", is_flag=True, help="Do it; without this only the plan is shown.")
def reset(directory: Path, only: tuple[str, ...], execute: bool) -> None:  # noqa: FBT001 - click calls it by name
    """Stop the services and delete their data. Shows its plan; `--execute` carries it out."""
    stack = LocalStack(directory, services=only or NAMES)
    if execute:
        _list("deleted", stack.reset())
        return
    if plan := stack.plan_reset():
        running = [one.name for one in stack.status() if one.state == "running"]
        _list(f"would stop {', '.join(running)} and delete" if running else "would delete", plan)
        click.echo("nothing was changed: add --execute")
    else:
        click.echo("nothing to delete")


def _list(verb: str, paths: list[Path]) -> None:
    for path in paths:
        click.echo(f"{verb} {path}")
    if not paths:
        click.echo("nothing to delete")


def _print_settings(settings: dict[str, str]) -> None:
    for name, value in settings.items():
        click.echo(f"export {name}={shlex.quote(value)}")
