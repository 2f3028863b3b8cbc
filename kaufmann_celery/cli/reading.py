"""The command `events`: what a topic holds, decoded, as JSON lines."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import click

from kaufmann_celery.cli.service import CONNECT_TIMEOUT_S, load, log_to_stderr, service
from kaufmann_celery.transcoders.headers import META

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.event import Headers


def _place(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, int | None, int | None]:
    """Return topic, partition and offset, None for what is not given."""
    topic, *numbers = value.split(":")
    if not topic or len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise click.BadParameter(f"expected TOPIC, TOPIC:PARTITION or TOPIC:PARTITION:OFFSET, got {value}", ctx, param)
    partition, offset = [*(int(number) for number in numbers), None, None][:2]
    return topic, partition, offset


@click.command()
@click.argument("place", metavar="TOPIC[:PARTITION[:OFFSET]]", callback=_place)
@click.option(
    "-n", "--count", type=click.IntRange(min=0), help="Stop after so many; 0 with --follow: only what is new."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what arrives; end with Ctrl-C.")
@click.option("--name", "pattern", metavar="GLOB", default="*", help="Only events whose name matches.")
@click.option("--json", is_flag=True, expose_value=False, help="As JSON lines, which they are in any case.")
@click.pass_context
def events(
    ctx: click.Context, place: tuple[str, int | None, int | None], count: int | None, follow: bool, pattern: str  # noqa: FBT001 - click calls it by name
) -> None:  # fmt: skip
    """Print the events of a topic as JSON lines, in the order of each partition, up to its end as it is now.

    No consumer group is involved. In place of `payload`, what cannot be decoded has `error`. What arrives from now on,
    and nothing else, is shown by `--follow -n 0`.
    """
    from kaufmann_celery.kafka_io.topic_reader import TopicReader

    log_to_stderr("WARNING", kafka=logging.CRITICAL)
    kaufmann = service(ctx)
    load(kaufmann)
    decode = EventDecoder(kaufmann)
    reader = TopicReader(kaufmann.config, *place, connect_timeout=CONNECT_TIMEOUT_S)
    try:
        if follow and count == 0:
            reader.seek_to_end()
            count = None
        _print(decode, reader.records(follow=follow), pattern, count)
    except KeyboardInterrupt:
        if not follow:
            raise
    except BrokenPipeError:
        # Whoever read has seen enough; Python would complain when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        reader.close()


class EventDecoder:
    """Decodes any record as an ingester would, whether the service handles its event or not."""

    def __init__(self, kaufmann: Kaufmann) -> None:
        from kaufmann_celery.decode import Decoder
        from kaufmann_celery.handlers import ERROR_PREFIX, Handler, Handlers
        from kaufmann_celery.transcoders.configured import Transcoders

        every = Handlers()
        every.add(Handler("*", print))
        every.add(Handler(f"{ERROR_PREFIX}*", print))
        reader = Transcoders(kaufmann.config, local=kaufmann.local_schemas)
        self._wanted = kaufmann.handlers
        # Nobody's service: nothing is passed over as its own output.
        self._decoder = Decoder(every, reader, service="", max_event_bytes=sys.maxsize)

    def __call__(self, record: Any) -> dict[str, Any]:
        """Return what `events` prints. Raises `UnavailableError` where the registry is away."""
        from kaufmann_celery.cli.json_values import to_json

        decoded = self._decoder.decode(self._named_as_here(record))
        assert decoded is not None
        whole_key = record.key.decode("utf-8", "replace") if record.key else None
        shown = {
            "position": f"{record.topic}:{record.partition}:{record.offset}",
            "name": decoded.name,
            "key": decoded.key if decoded.key is not None or not self._by_header(record) else whole_key,
            "timestamp": datetime.fromtimestamp(record.timestamp / 1000, UTC).isoformat(),
            "headers": _headers(_without_meta(record.headers, decoded.meta)),
            "meta": to_json(decoded.meta),
        }
        if decoded.error is not None:
            return {**shown, "error": f"{type(decoded.error).__name__}: {decoded.error}"}
        return {**shown, "payload": to_json(decoded.payload())}

    def _named_as_here(self, record: Any) -> Any:
        """Return *record* without its key where the service takes the name from the `ce_type` header."""
        return record._replace(key=None) if self._by_header(record) else record

    def _by_header(self, record: Any) -> bool:
        from kaufmann_celery.decode import is_named_by_key

        ce_type = dict(record.headers).get("ce_type")
        if ce_type is None or record.key is None:
            return False
        name = record.key.decode("utf-8", "replace").partition("#")[0]
        return not is_named_by_key(self._wanted, name, ce_type)


def _print(decode: EventDecoder, records: Iterator[Any], pattern: str, count: int | None) -> None:
    printed = 0
    if count == 0:
        return
    for record in records:
        shown = decode(record)
        if fnmatchcase(shown["name"], pattern):
            sys.stdout.write(json.dumps(shown, ensure_ascii=False) + "\n")
            sys.stdout.flush()
            printed += 1
            if printed == count:
                return


def _without_meta(headers: Iterable[tuple[str, bytes | None]], meta: Mapping[str, Any]) -> Headers:
    """Return the headers but for the one that *meta* was read from: it is shown already."""
    given = tuple((name, value or b"") for name, value in headers)
    try:
        is_shown = bool(meta) and json.loads(dict(given)[META]) == meta
    except (LookupError, ValueError, RecursionError):
        is_shown = False
    return tuple((name, value) for name, value in given if not (is_shown and name == META))


def _headers(headers: Headers) -> dict[str, Any]:
    """Return each header's text, or its bytes as base64; a list where a name stands more than once."""
    shown: dict[str, Any] = {}
    for name, value in headers:
        text = _text(value)
        if name in shown:
            earlier = shown[name] if isinstance(shown[name], list) else [shown[name]]
            shown[name] = [*earlier, text]
        else:
            shown[name] = text
    return shown


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
