"""What `producer_mod` names: how it is found, made, and held to what it promises."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from kaufmann_celery import ConfigError, Kaufmann, Position, PublishError, PublishNothing, UnavailableError
from kaufmann_celery.config import Config, load_config
from kaufmann_celery.errors import RefusedForGood
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.outputs.producing import RecordsOut, check_producer, records_out

RECORDS = [OutRecord("out", b"key", b"1"), OutRecord("out", b"key", b"2")]
NO_RECORDS: Sequence[OutRecord] = ()


class Producer:
    """Answers as a test says; raises what is an exception."""

    answer: Any = None
    given: list[Sequence[OutRecord]]

    def __init__(self, config: Config) -> None:
        assert config.service == "orders"
        self.given = []
        self.closed = False

    def publish(self, records: Sequence[OutRecord]) -> Any:
        self.given.append(records)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.closed = True


def made(config: Config) -> Producer:
    return Producer(config)


def nothing(_: Config) -> None:
    return None


def broken(_: Config) -> None:
    raise RuntimeError("no luck")


def publish(records: Sequence[OutRecord]) -> None:
    """This module's own: it may be named as a whole."""


def config(path: str, **settings: Any) -> Config:
    return load_config("orders", keywords={"producer_mod": path, **settings}, conf={}, environ={})


def out(path: str) -> RecordsOut:
    check_producer(config(path))
    return records_out(config(path))


@pytest.mark.parametrize(
    "path", [f"{__name__}.Producer", f"{__name__}.made", __name__, "kaufmann_celery.PublishNothing"]
)
def test_it_is_a_class_a_function_or_a_module(path: str) -> None:
    assert out(path).publish(RECORDS) == [None, None]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, [None, None]),
        ([Position("out", 0, 7), None], [Position("out", 0, 7), None]),
        ((None, Position("out", 0, 7)), [None, Position("out", 0, 7)]),
    ],
)
def test_it_says_where_each_record_is_or_nothing(monkeypatch: Any, answer: Any, expected: Any) -> None:
    monkeypatch.setattr(Producer, "answer", answer)

    assert out(f"{__name__}.Producer").publish(RECORDS) == expected


def test_what_it_refuses_is_refused_for_good(monkeypatch: Any) -> None:
    monkeypatch.setattr(Producer, "answer", [PublishError("too odd"), None])
    refused, published = out(f"{__name__}.Producer").publish(RECORDS)

    assert isinstance(refused, RefusedForGood)
    assert (str(refused), published) == ("too odd", None)


@pytest.mark.parametrize(
    "answer",
    [ValueError("no luck"), PublishError("away"), UnavailableError("away"), 5, "ok", [], [None], [None, 5]],
    ids=repr,
)
def test_where_it_raises_or_answers_nonsense_nothing_counts_as_published(monkeypatch: Any, answer: Any) -> None:
    monkeypatch.setattr(Producer, "answer", answer)

    with pytest.raises(UnavailableError, match=r"^producer_mod (raised|returned|answered) "):
        out(f"{__name__}.Producer").publish(RECORDS)


@pytest.mark.parametrize(
    ("path", "why"),
    [("nowhere.producer", "there is no nowhere.producer"), ("json.decoder", "has no publish(records)"),
     ("json.JSONDecoder", "has no publish(records)"), (f"{__name__}.NO_RECORDS", "has no publish(records)")],
)  # fmt: skip
def test_what_cannot_publish_is_a_fault_at_start(path: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"producer_mod: .*{re.escape(why)}"):
        Kaufmann("orders", producer_mod=path).load()


@pytest.mark.parametrize(("path", "why"), [("nothing", "has no publish"), ("broken", "RuntimeError: no luck")])
def test_a_function_that_makes_nothing_of_the_kind_is_a_fault_when_it_is_used(path: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"producer_mod: .*{why}"):
        out(f"{__name__}.{path}")


def test_it_is_refused_together_with_exactly_once() -> None:
    with pytest.raises(ConfigError, match="producer_mod: cannot be used with delivery exactly_once"):
        config("kaufmann_celery.PublishNothing", delivery="exactly_once")


class TestPublish:
    def published(self, monkeypatch: Any, answer: Any) -> Callable[[], Position | None]:
        monkeypatch.setattr(Producer, "answer", answer)
        kaufmann = Kaufmann("orders", producer_mod=f"{__name__}.Producer")
        return lambda: kaufmann.publish("order.placed", {}, format="json")

    def test_publish_outside_a_handler_goes_to_it(self, monkeypatch: Any) -> None:
        assert self.published(monkeypatch, None)() is None
        assert self.published(monkeypatch, [Position("out", 0, 7)])() == Position("out", 0, 7)
        with pytest.raises(PublishError, match="too odd"):
            self.published(monkeypatch, [PublishError("too odd")])()
        with pytest.raises(PublishError, match="not acknowledged: producer_mod raised KeyError"):
            self.published(monkeypatch, KeyError("k"))()

    def test_threads_that_publish_first_at_the_same_time_have_one_made(self, monkeypatch: Any) -> None:
        made: list[Producer] = []

        def make(config: Config) -> Producer:
            made.append(Producer(config))
            return made[-1]

        monkeypatch.setattr(sys.modules[__name__], "made", make)
        kaufmann = Kaufmann("orders", producer_mod=f"{__name__}.made")
        start = threading.Barrier(8)

        def publish_at_once(_: int) -> None:
            start.wait()
            kaufmann.publish("order.placed", {}, format="json")

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(publish_at_once, range(8)))

        assert [len(one.given) for one in made] == [8]

    def test_nothing_is_published_by_the_one_that_ships(self) -> None:
        kaufmann = Kaufmann("orders", producer_mod="kaufmann_celery.PublishNothing")

        assert kaufmann.publish("order.placed", {}, format="json") is None
        PublishNothing(kaufmann.config).publish(RECORDS)
