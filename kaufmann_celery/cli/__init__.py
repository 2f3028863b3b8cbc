"""The commands: `kaufmann -A app COMMAND`, and the same by `celery -A app kaufmann COMMAND`.

A command's module is imported when the command is asked for, and imports Celery and Kafka when it runs: the
entry point is loaded by every `celery` process.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from kaufmann_celery.cli.failures import reported

#: Each command with where it is.
_COMMANDS = {
    "ingester": "kaufmann_celery.cli.ingest:ingester",
    "publish": "kaufmann_celery.cli.publishing:publish",
    "events": "kaufmann_celery.cli.reading:events",
    "status": "kaufmann_celery.cli.inspecting:status",
    "config": "kaufmann_celery.cli.inspecting:config",
    "handlers": "kaufmann_celery.cli.inspecting:handlers",
    "migrate-schemas": "kaufmann_celery.cli.releasing:migrate_schemas",
    "reset-schemas": "kaufmann_celery.cli.releasing:reset_schemas",
    "reinit-service": "kaufmann_celery.cli.replaying:reinit_service",
    "errors": "kaufmann_celery.cli.failed_events:errors",
    "offsets": "kaufmann_celery.cli.moving:offsets",
    "local": "kaufmann_celery.local.commands:local",
}

_EXAMPLES = """\
\b
Examples:
  kaufmann local up                                  Kafka, Redis and a schema registry on this machine
  eval "$(kaufmann local env)"                       the settings to reach them
  kaufmann -A service migrate-schemas                register the schemas under schema_path
  kaufmann -A service ingester                       Kafka to Celery and back
  celery -A service worker                           what runs the handlers
  kaufmann -A service publish order.placed --payload '{"order_id": "17"}'
  kaufmann -A service publish order.placed --payload - < orders.jsonl
  kaufmann -A service events orders --follow --name 'order.*'
  kaufmann -A service status --fail-above 1000
  kaufmann -A service errors list --since 24h
  kaufmann -A service errors replay --name order.placed --execute
"""


class Commands(click.Group):
    """Imports a command when it is asked for; turns our errors into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the commands in the order in which a newcomer needs them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import one command; None where there is no such command."""
        where = _COMMANDS.get(cmd_name)
        if where is None:
            return None
        module, _, name = where.partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit with 1, 2 or 69 where it raises one of our errors."""
        with reported():
            return super().invoke(ctx)


def _change_directory(_ctx: click.Context, _param: click.Parameter, directory: Path | None) -> None:
    import os

    if directory is not None:
        os.chdir(directory)


def _show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's signature
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"kaufmann-celery {version('kaufmann-celery')}")
        ctx.exit()


@click.group(
    cls=Commands, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.option("-A", "--app", envvar=["APP", "CELERY_APP"], help="The service: module, or module:attribute. [env: APP]")
@click.option(
    "--workdir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    callback=_change_directory,
    expose_value=False,
    is_eager=True,
    help="Change to this directory first.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show it.")
@click.pass_context
def cli(ctx: click.Context, app: str | None) -> None:
    """Run Kafka event handlers on Celery, and look after them."""
    ctx.obj = app


@click.group("kaufmann", cls=Commands)
def celery_command() -> None:
    """Kafka events: ingester, publish, events, status and more."""


def main() -> None:
    """Run the console script `kaufmann`."""
    cli(prog_name="kaufmann")
