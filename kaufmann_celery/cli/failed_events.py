"""The commands `errors list`, `errors show` and `errors replay`: events that failed for good."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from kaufmann_celery.cli.failures import failure
from kaufmann_celery.cli.ingest import StopSignals
from kaufmann_celery.cli.output import as_json_option, execute_option, json_text, table
from kaufmann_celery.cli.service import load, log_to_stderr, service

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.ledger.replayed import Replay
    from kaufmann_celery.operations.failures import Failure
    from kaufmann_celery.operations.replay import Candidate, Handed

#: Characters of an error's message in a table.
_SHOWN = 60
_ELSEWHERE = (
    "topic_strategy may send error events to topics that cannot be known beforehand: look there with --topic T, or set "
    "error_topic"
)


def _since(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    from kaufmann_celery.operations.places import NoSuchPlace, milliseconds, time_of

    try:
        return None if value is None else milliseconds(time_of(value))
    except NoSuchPlace as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _position(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int, int] | None:
    if value is None:
        return None
    topic, *numbers = value.rsplit(":", 2)
    if not topic or len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise click.BadParameter(f"expected TOPIC:PARTITION:OFFSET, got {value}", ctx, param)
    return topic, int(numbers[0]), int(numbers[1])


_OPTIONS = (
    click.option("--name", default="*", metavar="GLOB", help="Only events whose name matches, order.* for instance."),
    click.option(
        "--since", callback=_since, metavar="T", help="Only failures since: 24h, or 2026-01-31T12:00:00 (UTC)."
    ),
    click.option(
        "--event", callback=_position, metavar="TOPIC:P:OFFSET", help="Only the event whose record stands there."
    ),
    click.option(
        "--topic", "topics", metavar="T", multiple=True, help="Look for error events here, not where they go now."
    ),
    as_json_option,
    click.pass_context,
)


def _options(command: Callable[..., Any]) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group()
def errors() -> None:
    """Look at events that failed for good, and hand them to their handlers again."""


@errors.command("list")
@_options
def list_(ctx: click.Context, as_json: bool, **wanted: Any) -> None:  # noqa: FBT001 - click calls it by name
    """List the group's failed events, each by the position of its own record, the latest failure last."""
    kaufmann = _loaded(ctx)
    candidates = _candidates(kaufmann, _found(kaufmann, **wanted))
    if as_json:
        click.echo(json_text([_data(one) for one in candidates]))
    elif candidates:
        click.echo(_table(candidates))
    else:
        click.echo(_none_of(kaufmann, **wanted), err=True)


@errors.command()
@_options
def show(ctx: click.Context, as_json: bool, **wanted: Any) -> None:  # noqa: ARG001, FBT001 - always JSON; click calls it by name
    """Show failed events as JSON: the error event and the record that failed, with headers and payloads."""
    from kaufmann_celery.cli.reading import EventDecoder
    from kaufmann_celery.operations.failures import original_of

    kaufmann = _loaded(ctx)
    found = _found(kaufmann, **wanted)
    if not found:
        raise failure(_none_of(kaufmann, **wanted))
    decode = EventDecoder(kaufmann)
    for one in _candidates(kaufmann, found):
        assert one.failure is not None
        record = original_of(kaufmann.config, one.failure)
        original = decode(record) if record is not None else "gone: retention or compaction has removed it"
        click.echo(json_text({**_data(one), "error_event": decode(one.failure.record), "original": original}))


@errors.command()
@click.option("--again", is_flag=True, help="Also those that were replayed already.")
@execute_option
@_options
def replay(ctx: click.Context, again: bool, execute: bool, as_json: bool, **wanted: Any) -> None:  # noqa: FBT001 - click calls it by name
    """Hand the original records of failed events to this group's handlers again, and to nobody else.

    Shows which; does it with --execute, by the service's workers, also while its ingesters run. One that was replayed
    is not replayed again unless --again is given. A call that was ended in the middle is gone on with by the next one.
    """
    from kaufmann_celery.operations import replay as replaying

    # A stop that comes while all is being prepared is kept for the ingester.
    signals = StopSignals() if execute else None
    kaufmann = _loaded(ctx)
    candidates = replaying.plan_replay(kaufmann, _found(kaufmann, **wanted), again=again)
    if _is_missing(wanted["event"], candidates):
        raise failure(_none_of(kaufmann, **wanted))
    if as_json:
        click.echo(json_text([_data(one) for one in candidates]))
    else:
        click.echo(f"{_table(candidates)}\n{_counted(candidates)}" if candidates else _none_of(kaufmann, **wanted))
    gone = [one.position for one in candidates if one.state == "gone"]
    if signals is not None:
        done = replaying.replay(kaufmann, candidates, starting=signals.stop_by)
        _say(done)
        gone += done.gone
    elif not gone:
        click.echo("nothing was replayed: give --execute to do it", err=True)
    if gone:
        names = ", ".join(map(str, gone))
        raise failure(f"retention or compaction has removed {names}: these cannot be replayed")


def _say(done: Handed) -> None:
    click.echo(f"replayed {done.handled + done.failed}: {done.handled} handled, {done.failed} failed again", err=True)
    if not done.is_done:
        raise failure("stopped before the end: the same command goes on")


def _loaded(ctx: click.Context) -> Kaufmann:
    log_to_stderr("WARNING", kafka=logging.CRITICAL)
    kaufmann = service(ctx)
    load(kaufmann)
    return kaufmann


def _found(
    kaufmann: Kaufmann, *, name: str, since: int | None, event: tuple[str, int, int] | None, topics: tuple[str, ...]
) -> list[Failure]:
    from kaufmann_celery.event import Position
    from kaufmann_celery.operations.failures import Wanted, find_failures, may_be_elsewhere

    if not topics and may_be_elsewhere(kaufmann):
        click.echo(_ELSEWHERE, err=True)
    return find_failures(kaufmann, Wanted(name, since, Position(*event) if event else None), topics)


def _is_missing(event: tuple[str, int, int] | None, candidates: Sequence[Candidate]) -> bool:
    """Return whether one *event* is asked for, and has not failed."""
    return event is not None and event not in [one.position for one in candidates]


def _none_of(
    kaufmann: Kaufmann, *, name: str, since: int | None, event: tuple[str, int, int] | None, topics: tuple[str, ...]
) -> str:
    from kaufmann_celery.operations.failures import error_topics

    given = {"--name": name != "*", "--since": since is not None, "--event": event is not None, "--topic": bool(topics)}
    asked = ", ".join(option for option, is_given in given.items() if is_given)
    said = f"no failed event of this group is as {asked} asks" if asked else "no event of this group has failed"
    return f"{said}: looked in {', '.join(topics or error_topics(kaufmann))}"


def _candidates(kaufmann: Kaufmann, found: Sequence[Failure]) -> list[Candidate]:
    """Return *found* with what is known of their replays."""
    from kaufmann_celery.operations.replay import plan_replay

    return [one for one in plan_replay(kaufmann, found) if one.failure is not None]


def _table(candidates: Sequence[Candidate]) -> str:
    return table(
        ("EVENT", "NAME", "FAILED", "ATTEMPTS", "ERROR", "REPLAYED", "STATE"), [_row(one) for one in candidates]
    )


def _row(one: Candidate) -> tuple[Any, ...]:
    replayed = _replayed(one.replay)
    if one.failure is None:
        return one.position, "-", "-", "-", "-", replayed, one.state
    error = f"{one.failure.error_type}: {' '.join(one.failure.error.split())}"
    shown = error if len(error) <= _SHOWN else f"{error[:_SHOWN]}…"
    return (
        one.position, one.failure.name, _moment(one.failure.failed_at_ms), one.failure.attempts, shown, replayed,
        one.state,
    )  # fmt: skip


def _data(one: Candidate) -> dict[str, Any]:
    known = one.failure
    return {
        "event": str(one.position),
        "name": known and known.name,
        "failed_at": known and _moment(known.failed_at_ms),
        "attempts": known and known.attempts,
        "error_type": known and known.error_type,
        "error": known and known.error,
        "replays": one.replay.times if one.replay else 0,
        "replayed_at": _moment(one.replay.asked_at_ms) if one.replay else None,
        "state": one.state,
    }


def _replayed(replay: Replay | None) -> str:
    if replay is None:
        return "-"
    return _moment(replay.asked_at_ms) + (f", {replay.times} times" if replay.times > 1 else "")


def _counted(candidates: Sequence[Candidate]) -> str:
    counts = Counter(one.state for one in candidates)
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
