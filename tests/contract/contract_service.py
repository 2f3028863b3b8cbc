"""A service with a handler of each kind; the contract tests run it in a MockBus, and by its processes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

from kaufmann_celery import ErrorEvent, Event, Kaufmann, Output, Retry

kaufmann = Kaufmann("contract")
celery = kaufmann.celery


def done(text: Any) -> tuple[str, Any]:
    return ("contract.done", {"text": text})


@kaufmann.on("contract.echo")
def echo(event: Event) -> Output:
    """Answer with what a handler sees."""
    seen = {
        "name": event.name, "key": event.key, "attempt": event.attempt, "text": event.payload["text"],
        "callback_id": event.meta["callback_id"], "emitter": event.meta["emitter_service"],
        "trace": dict(event.headers)["trace"].decode(), "has_id": event.id == event.meta["message_id"],
    }  # fmt: skip
    return Output("contract.echoed", seen, key=event.key, format="json", headers={"trace": "t-2"})


@kaufmann.on("contract.types")
def types(event: Event) -> tuple[str, Any]:
    return ("contract.typed", event.payload)


@kaufmann.on("contract.several")
def several(event: Event) -> Iterator[tuple[str, Any] | Output]:
    kaufmann.publish(*done("published"))
    yield done("first")
    yield Output("contract.done", {"text": "second"})


@kaufmann.on("contract.async")
async def later(event: Event) -> list[tuple[str, Any]]:
    await asyncio.sleep(0.01)
    return [done(event.payload["text"])]


@kaufmann.on("contract.fail")
def fail(event: Event) -> None:
    kaufmann.publish(*done("never"))
    raise ValueError(f"no {event.payload['text']}")


@kaufmann.on("contract.retry", max_retries=2, retry_backoff=0.05, retry_jitter=False)
def retry(event: Event) -> tuple[str, Any]:
    if event.attempt <= int(event.payload["text"]):
        raise LookupError("not yet")
    return done(f"attempt {event.attempt}")


@kaufmann.on("contract.later")
def ask_again(event: Event) -> tuple[str, Any]:
    if event.attempt < 3:
        raise Retry(countdown=0.05)
    return done(f"attempt {event.attempt}")


@kaufmann.on("contract.misfit")
def misfit(event: Event) -> tuple[str, Any]:
    return done(1)


@kaufmann.on("contract.unknown")
def unknown(event: Event) -> tuple[str, Any]:
    return ("contract.no.schema", {})


@kaufmann.on("contract.nothing")
def nothing(event: Event) -> None:
    return None


@kaufmann.on("contract.wrong")
def wrong(event: Event) -> str:
    return "contract.done"


@kaufmann.on("query.req.contract")
def query(event: Event) -> Output:
    if event.payload["text"] == "fail":
        raise ValueError("no answer")
    return Output("query.res.contract", {"text": "answer"}, reply=True)


@kaufmann.on("contract.any.*")
def anything(event: Event) -> tuple[str, Any]:
    return done(event.name)


@kaufmann.on("contract.told")
def told(event: Event) -> None:
    raise ValueError("to be told")


@kaufmann.on_error("contract.told", "contract.raw")
def tell(error: ErrorEvent) -> tuple[str, Any]:
    return done(f"{error.name} {error.error_type} {error.message_payload!r}")


@kaufmann.on("contract.raw", "contract.bare")
def raw(event: Event) -> tuple[str, Any]:
    return done(event.payload["text"])


@kaufmann.on("contract.evolved")
def evolved(event: Event) -> tuple[str, Any]:
    return done(f"{event.payload['text']} {event.payload['added']}")
