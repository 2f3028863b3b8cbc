"""The public API as users write it. Type-checked, never run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_type

from celery import Celery

from kaufmann_celery import (
    ConfigError,
    ErrorEvent,
    Event,
    Kaufmann,
    KaufmannError,
    Middleware,
    Output,
    Position,
    PublishError,
    PublishNothing,
    Retry,
    UnavailableError,
)
from kaufmann_celery.release import migrate_schemas
from kaufmann_celery.testing import Emitted, FakeSchemaRegistry, MockBus

if TYPE_CHECKING:
    from kaufmann_celery.ingester import Ingester

kaufmann = Kaufmann("orders")
celery: Celery = kaufmann.celery
tuned = Kaufmann("orders", celery=Celery("shop"), max_demand=10, delivery="exactly_once")


@kaufmann.on("order.placed")
def confirm(event: Event) -> tuple[str, dict[str, Any]]:
    return ("order.confirmed", {"order_id": event.payload["order_id"]})


@kaufmann.on("order.cancelled", "order.returned", max_retries=3, retry_backoff=0.5, autoretry_for=[OSError])
def refund(event: Event) -> Output | None:
    if event.attempt > 2:
        raise Retry("later", countdown=timedelta(minutes=1))
    if event.key is None:
        raise Retry(countdown=0.2)
    return Output(
        "order.refunded", event.payload, topic=["refunds", "audit"], partition=0, key=event.key, reply=True,
        reply_to="orders:1", format="json", meta={"trace": "1"}, headers={"a": b"1", "b": "2"},
    )  # fmt: skip


@kaufmann.on("order.*", queue="slow", time_limit=30, soft_time_limit=25.5, rate_limit="10/s", batch=1)
async def watch(event: Event) -> None:
    kaufmann.publish("order.seen", {"at": event.timestamp}, key=event.id)


@kaufmann.on("stock.counted", ordering_key=lambda event: event.key)
def several(event: Event) -> Iterator[tuple[str, Any] | Output]:
    yield ("stock.changed", event.payload)
    yield Output("stock.known", event.payload, headers=[("a", b"1"), ("a", b"2")])


@kaufmann.on("stock.moved", ordering_key="payload.item_id", dont_autoretry_for=(ValueError,), retry_jitter=False)
def a_list(event: Event) -> list[Output]:
    return [Output("stock.changed", event.payload)]


@kaufmann.on_error("order.placed", "order.*")
def tell(error: ErrorEvent) -> Output:
    assert_type(error.position, Position | None)
    assert_type(error.error, str)
    return Output("order.lost", {"name": error.name, "type": error.error_type, "meta": error.meta})


def given_event(event: Event | ErrorEvent) -> Any:
    match event:
        case Event(name="order.placed", payload=payload):
            return ("order.confirmed", payload)
        case ErrorEvent(name=name, error=error):
            return ("order.lost", {"name": name, "error": error})
    return None


class Watching(Middleware):
    def handle(self, event: Event) -> Generator[None, list[Output], None]:
        outputs = yield
        outputs.append(Output(f"{event.name}.seen", None))


def watched() -> None:
    kaufmann.middleware += [Watching(), Middleware()]
    assert_type(PublishNothing(kaufmann.config).publish([]), None)


def a_decorated_function_is_what_it_was(event: Event) -> None:
    assert_type(confirm(event), tuple[str, dict[str, Any]])
    assert_type(refund(event), Output | None)


def an_event_is_typed_and_frozen(event: Event) -> None:
    assert_type(event.name, str)
    assert_type(event.meta, dict[str, Any])
    assert_type(event.id, str)
    assert_type(event.key, str | None)
    assert_type(event.timestamp, datetime)
    assert_type(event.headers, tuple[tuple[str, bytes], ...])
    assert_type(event.position, Position)
    assert_type(event.position.offset, int)
    event.name = "another"  # type: ignore[misc] # frozen


def publishing_outside_a_handler() -> Position | None:
    try:
        return kaufmann.publish("order.placed", {"order_id": "1"}, topic="orders")
    except UnavailableError:
        raise
    except (PublishError, ConfigError) as error:
        known: KaufmannError = error
        print(known)
        return None


def embedded() -> None:
    ingester: Ingester = kaufmann.ingester(topics=["orders"], until_end=True)
    ingester.run()
    ingester.stop()
    assert_type(ingester.outstanding, int)


def released() -> None:
    for report in migrate_schemas(kaufmann, check=True):
        print(report)


def tested(kaufmann_bus: MockBus) -> None:
    kaufmann_bus.given_event("order.placed", {"order_id": "1"}, callback_id="c", meta={"callback_topic": None}, key="k")
    kaufmann_bus.given_raw(b"order.placed", None, [("a", b"1")])
    kaufmann_bus.given_raw("order.placed", b"", {"a": "1"}, topic="orders")
    output = kaufmann_bus.then_event("order.confirmed", {"order_id": "1"}, topic="orders")
    assert_type(output, Emitted)
    assert_type(output.meta, dict[str, Any])
    assert_type(output.topic, str)
    kaufmann_bus.then_no_event("order.refused")
    kaufmann_bus.then_no_event()
    kaufmann_bus.feed_back(limit=10)
    assert_type(kaufmann_bus.emitted, list[Emitted])
    with MockBus(kaufmann) as bus, FakeSchemaRegistry(compatibility="FULL", credentials=("user", "password")) as fake:
        assert_type(bus, MockBus)
        assert_type(fake.url, str)
        fake.fail(500, 50001, times=3)


def what_is_no_option_is_refused() -> None:
    @kaufmann.on("order.placed", max_retry=1)  # type: ignore[call-arg] # max_retries
    def handler(event: Event) -> None: ...

    Output("order.placed")  # type: ignore[call-arg] # no payload
    Output("order.placed", {}, partition="0")  # type: ignore[arg-type] # a number
    Retry("later", 5)  # type: ignore[call-arg] # countdown by name
