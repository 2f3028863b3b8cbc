"""The command `publish`: one event, or one for each line of a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from kaufmann_celery.cli.failures import exit_code_of, failure
from kaufmann_celery.cli.service import CONNECT_TIMEOUT_S, log_to_stderr, service
from kaufmann_celery.errors import EncodeError, KaufmannError, PublishError

if TYPE_CHECKING:
    from kaufmann_celery.event import Output, Position
    from kaufmann_celery.outputs.publisher import Publisher

#: Most events that are sent before their acknowledgements are awaited.
_MOST_AT_ONCE = 500


class _Line(NamedTuple):
    number: int
    text: bytes


@click.command()
@click.argument("name")
@click.option(
    "--payload", metavar="JSON|@FILE|-",
    help="JSON, a file that holds one payload, or - for stdin with one payload a line. Default: -, in a pipe.",
)  # fmt: skip
@click.option("--topic", help="Topic, instead of the usual one.")
@click.option("--key", help="Goes into the record key after #.")
@click.option("--reply-to", metavar="TOPIC[:P]", help="Where replies to it should go.")
@click.pass_context
def publish(
    ctx: click.Context, name: str, payload: str | None, topic: str | None, key: str | None, reply_to: str | None
) -> None:
    """Publish an event NAME and print its position; with a pipe, one event for each line.

    Bytes in the payload are base64, times ISO 8601, decimals and UUIDs text.
    """
    import logging

    from kaufmann_celery.event import Output
    from kaufmann_celery.outputs.publisher import Publisher

    log_to_stderr("WARNING", kafka=logging.CRITICAL)
    kaufmann = service(ctx)
    publisher = Publisher(kaufmann, connect_timeout=CONNECT_TIMEOUT_S)
    outputs = _Outputs(publisher, Output(name, None, topic=topic, key=key, reply_to=reply_to))
    if payload is None and sys.stdin.isatty():
        raise click.UsageError("give --payload, or one payload a line in a pipe", ctx)
    if payload in (None, "-"):
        _publish_lines(publisher, outputs, sys.stdin.buffer)
    else:
        _echo(publisher.publish(outputs.of(_text(str(payload), ctx))))


def _echo(position: Position | None) -> None:
    click.echo(position or "published, where is not known")


class _Outputs:
    """Makes outputs that differ in their payload only."""

    def __init__(self, publisher: Publisher, template: Output) -> None:
        self._publisher = publisher
        self._template = template
        self._from_json: Any = None

    def of(self, text: str | bytes) -> Output:
        """Return the output with the payload that *text* is in JSON. Raises `EncodeError`."""
        from dataclasses import replace

        try:
            payload = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise EncodeError(f"the payload is not JSON: {error}") from None
        return replace(self._template, payload=self._converted(payload))

    def _converted(self, payload: Any) -> Any:
        from kaufmann_celery.cli.json_values import FromJson

        if self._from_json is None:
            found = self._publisher.avro_schema_of(self._template)
            self._from_json = FromJson(found[0].schema, found[1]) if found else _as_it_is
        return self._from_json(payload)


def _as_it_is(payload: Any) -> Any:
    return payload


def _text(payload: str, ctx: click.Context) -> str:
    if not payload.startswith("@"):
        return payload
    try:
        return Path(payload[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"--payload: cannot read {payload[1:]}: {error}", ctx) from error


def _publish_lines(publisher: Publisher, outputs: _Outputs, lines: Iterable[bytes]) -> None:
    """Publish an event for each line; stop at the first that fails, and say how many were published."""
    published = 0
    for batch in _batches(lines):
        sent, fault = _publish_batch(publisher, outputs, batch)
        published += sent
        if fault is not None:
            number, error = fault
            raise failure(f"line {number}: {error}; {published} published", exit_code_of(error)) from error
    click.echo(f"{published} published", err=True)


def _publish_batch(
    publisher: Publisher, outputs: _Outputs, batch: list[_Line]
) -> tuple[int, tuple[int, KaufmannError] | None]:
    """Return how many lines were published, and the first that failed with its error."""
    from kaufmann_celery.outputs.publisher import Refused

    composed, fault = [], None
    for line in batch:
        try:
            composed.append(publisher.compose(outputs.of(line.text)))
        except KaufmannError as error:
            fault = (line.number, error)
            break
    if not composed:
        return 0, fault
    positions: list[Any] = []
    try:
        positions = publisher.publish_composed(composed)
    except Refused as error:
        positions = [one for at, one in enumerate(error.positions) if at not in error.refusals]
        fault = (batch[min(error.refusals)].number, error)
    except PublishError as error:
        fault = (batch[0].number, error)
    for position in positions:
        _echo(position)
    return len(positions), fault


def _batches(lines: Iterable[bytes]) -> Iterator[list[_Line]]:
    """Yield the lines in batches of what is there, so that a slow pipe's line does not wait for the next."""
    read: Queue[_Line | None] = Queue(maxsize=2 * _MOST_AT_ONCE)
    Thread(target=_read, args=(lines, read), daemon=True).start()
    line = read.get()
    while line is not None:
        batch = [line]
        try:
            while len(batch) < _MOST_AT_ONCE and (line := read.get_nowait()) is not None:
                batch.append(line)
        except Empty:
            yield batch
            line = read.get()
            continue
        yield batch
        if line is not None:
            line = read.get()


def _read(lines: Iterable[bytes], into: Queue[_Line | None]) -> None:
    for number, text in enumerate(lines, 1):
        if text.strip():
            into.put(_Line(number, text))
    into.put(None)
