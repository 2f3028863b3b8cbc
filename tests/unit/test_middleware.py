"""Hooks: their order, what they see, and what becomes of what they raise."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka import errors as kafka_errors

from kaufmann_celery import ConfigError, Kaufmann, Middleware, Position
from kaufmann_celery.commit import CommitClock, CommitPolicy, Committer
from kaufmann_celery.errors import PublishError, RefusedForGood, UnavailableError
from kaufmann_celery.event import Event, Output
from kaufmann_celery.handle import TaskRun
from kaufmann_celery.handlers import Handler
from kaufmann_celery.kafka_io.at_least_once import AtOnce
from kaufmann_celery.kafka_io.rounds import Entry
from kaufmann_celery.ledger import RunLedger
from kaufmann_celery.middleware import Hooks, LogEvents
from kaufmann_celery.outputs.composing import Composer
from kaufmann_celery.outputs.outcome import HANDLED, Outcome, OutRecord, decode
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.tasks import envelope
from kaufmann_celery.tasks.given import Given
from kaufmann_celery.worker.leases import Leases
from kaufmann_celery.worker.runtime import WorkerRuntime
from tests.unit import delivery_scene, test_decode, test_error_event, test_handle
from tests.unit.kafka_in_memory import KafkaInMemory
from tests.unit.ledger_in_memory import PARTITION, InMemory, owned_by, running

CONFIRMED = Output("order.confirmed", {"id": 1}, format="json")


class Noting(Middleware):
    """Notes what it sees, under its letter; raises where a test says so."""

    def __init__(self, letter: str, notes: list[Any], *, before: bool = False, after: bool = False) -> None:
        self.letter, self.notes, self.before, self.after = letter, notes, before, after

    def _look(self) -> Generator[None, Any, None]:
        if self.before:
            raise RuntimeError(f"{self.letter} before")
        self.notes.append(f"{self.letter} begins")
        try:
            result = yield
        except Exception as error:
            self.notes.append(f"{self.letter} sees {type(error).__name__}")
            raise
        else:
            self.notes.append(f"{self.letter} ends")
            self.notes.append(result)
        if self.after:
            raise RuntimeError(f"{self.letter} after")

    def decode(self, record: Any) -> Generator[None, Any, None]:
        del record
        yield from self._look()

    def handle(self, event: Event) -> Generator[None, Any, None]:
        del event
        yield from self._look()

    def publish(self, records: Any) -> Generator[None, Any, None]:
        del records
        yield from self._look()

    def commit(self, offsets: Any) -> Generator[None, Any, None]:
        self.notes.append(offsets)
        yield from self._look()


def order(notes: list[Any]) -> list[str]:
    return [note for note in notes if isinstance(note, str)]


@pytest.fixture
def notes() -> list[Any]:
    return []


class TestLookingOn:
    def test_the_first_is_outermost(self, notes: list[Any]) -> None:
        hooks = Hooks([Noting("a", notes), Middleware(), Noting("b", notes)], "publish")

        assert hooks.around("records", lambda: "answers") == "answers"
        assert notes == ["a begins", "b begins", "b ends", "answers", "a ends", "answers"]

    def test_what_the_step_raises_passes_through_all(self, notes: list[Any]) -> None:
        def away() -> None:
            raise UnavailableError("away")

        with pytest.raises(UnavailableError, match="away"):
            Hooks([Noting("a", notes), Noting("b", notes)], "publish").around((), away)
        assert order(notes) == ["a begins", "b begins", "b sees UnavailableError", "a sees UnavailableError"]

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_what_a_hook_raises_is_logged_and_the_step_goes_on_once(
        self, notes: list[Any], caplog: pytest.LogCaptureFixture, when: str
    ) -> None:
        broken, steps = Noting("b", notes, **{when: True}), []
        hooks = Hooks([Noting("a", notes), broken, Noting("c", notes)], "publish")

        assert hooks.around((), lambda: steps.append("step")) is None
        assert steps == ["step"]
        assert order(notes)[-1] == "a ends"
        (said,) = caplog.records
        assert said.getMessage() == "a hook of publish failed and is passed over"
        assert f"b {when}" in str(said.exc_info and said.exc_info[1])

    def test_one_that_fails_each_time_is_not_said_each_time(
        self, notes: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        hooks = Hooks([Noting("a", notes, before=True)], "decode")
        for _ in range(100):
            hooks.around((), lambda: None)

        assert len(caplog.records) == 1

    def test_a_hook_cannot_keep_what_the_step_raised(self) -> None:
        class Swallows(Middleware):
            def publish(self, records: Any) -> Generator[None, Any, None]:
                del records
                with suppress(UnavailableError):
                    yield

        def away() -> None:
            raise UnavailableError

        with pytest.raises(UnavailableError):
            Hooks([Swallows()], "publish").around((), away)

    def test_a_second_yield_is_a_fault_of_the_hook(self, caplog: pytest.LogCaptureFixture) -> None:
        class Twice(Middleware):
            def publish(self, records: Any) -> Generator[None, Any, None]:
                yield records
                yield records

        assert Hooks([Twice()], "publish").around((), lambda: 5) == 5
        assert "more than one yield" in caplog.text

    def test_without_any_nothing_is_done_but_the_step(self) -> None:
        hooks = Hooks([Middleware(), Middleware()], "publish")

        assert not hooks
        assert hooks.around((), lambda: 5) == 5


class TestHandle:
    """Hooks in the worker are the handler's own: they change its outputs, and what they raise is its failure."""

    def handled(
        self, *middleware: Middleware, handler: Callable[[Event], Any] = lambda _: CONFIRMED
    ) -> tuple[list[Any], Outcome]:
        """Run one event; return the names of what it emitted, and its outcome."""
        failures = test_error_event.Scene()
        runtime = SimpleNamespace(
            leases=Leases(60.0), config=failures.config, handle_hooks=Hooks(middleware, "handle"),
            composer=Composer(failures.config, failures.transcoders), error_events=failures.events,
            on_error=lambda _: None,
        )  # fmt: skip
        ledger = test_handle.Ledger(last=1)
        run = TaskRun(
            cast(WorkerRuntime, runtime), Handler("order.placed", handler), cast(RunLedger, ledger), "orders", 0
        )
        text = envelope.pack(
            "order.placed", key=None, raw_key=b"order.placed", timestamp_ms=0, headers=(), meta={}, payload={}
        )
        run.run([Given(1, 1)], [text])
        ((report,),) = ledger.reported
        outcome = decode(report.outcome or b"")
        return [(one.key or b"").decode() for one in outcome.records], outcome

    def test_they_see_the_event_and_what_it_emits(self, notes: list[Any]) -> None:
        emitted, _ = self.handled(Noting("a", notes), Noting("b", notes))

        assert emitted == ["order.confirmed"]
        assert order(notes) == ["a begins", "b begins", "b ends", "a ends"]
        assert notes[3] == [CONFIRMED]

    def test_they_may_change_what_is_emitted(self) -> None:
        class Adds(Middleware):
            def handle(self, event: Event) -> Generator[None, list[Output], None]:
                outputs = yield
                outputs.append(Output(f"{event.name}.seen", {}, format="json"))

        assert self.handled(Adds())[0] == ["order.confirmed", "order.placed.seen"]

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_what_one_raises_is_the_handlers_failure(self, notes: list[Any], when: str) -> None:
        emitted, outcome = self.handled(Noting("a", notes), Noting("b", notes, **{when: True}))

        assert emitted == ["event.error.order.placed"]
        assert order(notes)[-1] == "a sees RuntimeError"
        assert (outcome.error_type, outcome.error) == ("RuntimeError", f"b {when}")

    def test_what_the_handler_raises_passes_through_all(self, notes: list[Any]) -> None:
        def handler(_: Event) -> None:
            raise KeyError("k")

        _, outcome = self.handled(Noting("a", notes), Noting("b", notes), handler=handler)

        assert order(notes)[2:] == ["b sees KeyError", "a sees KeyError"]
        assert outcome.error_type == "KeyError"

    def test_one_that_catches_what_the_handler_raised_makes_it_handled(self) -> None:
        class Forgives(Middleware):
            def handle(self, event: Event) -> Generator[None, list[Output], None]:
                del event
                with suppress(KeyError):
                    yield

        def handler(_: Event) -> None:
            raise KeyError("k")

        assert self.handled(Forgives(), handler=handler)[1] == HANDLED


class TestSteps:
    def test_decode_sees_the_record_and_what_it_is(self, notes: list[Any]) -> None:
        scene = test_decode.Scene("order.placed", middleware=[Noting("a", notes)])

        decoded = scene.read(b"order.placed", test_decode.TEA)
        assert notes == ["a begins", "a ends", decoded]
        assert scene.decode(b"stock.moved", test_decode.TEA) is None
        assert notes[-1] is None
        scene.registry.away = True
        with pytest.raises(UnavailableError):
            scene.decode(b"order.placed", test_decode.TEA, ("kaufmann-schema-id", b"9"))
        assert order(notes)[-1] == "a sees UnavailableError"

    def test_publish_sees_a_rounds_records_and_their_answers(self, notes: list[Any]) -> None:
        owned = owned_by(InMemory())
        running(owned, 0, 1)
        entries = [Entry(owned, 0, Outcome((OutRecord("out", b"k", b"v"),))), Entry(owned, 1, Outcome())]
        delivery = AtOnce(Out(), [Noting("a", notes)])

        assert delivery.deliver(entries, lambda _: None) == []
        assert notes == ["a begins", "a ends", [Position("out", 0, 7)]]
        delivery.deliver(entries[1:], lambda _: None)
        assert len(notes) == 3

    def test_commit_lasts_until_kafka_answers(self, notes: list[Any]) -> None:
        sent: list[Any] = []
        committer = Committer(
            CommitClock(CommitPolicy(1, 1.0), 0.0), sent.append, hooks=Hooks([Noting("a", notes)], "commit")
        )
        commits = {PARTITION: Committed(5, 4, (), "history")}

        committer.send(commits, 0.0)
        assert notes == [{("orders", 0): 5}, "a begins"]
        committer.answered(commits, None, {})
        assert notes[2:] == ["a ends", None]
        committer.send(commits, 1.0)
        committer.answered(commits, UnavailableError("away"), {})
        assert order(notes)[-1] == "a sees UnavailableError"

    @pytest.fixture
    def kafka(self) -> Iterator[KafkaInMemory]:
        with KafkaInMemory().connected() as one:
            yield one

    def test_publish_lasts_until_kafka_answers_for_the_whole_round(
        self, kafka: KafkaInMemory, notes: list[Any]
    ) -> None:
        scene = delivery_scene.Scene(kafka, "at_least_once", middleware=[Noting("a", notes)])
        kafka.stuck = {b"1"}
        scene.deliver(0, 1)
        scene.deliver(1, 2)
        assert notes == ["a begins", "a begins", "a ends", [Position("out", 0, 7)]]
        kafka.stuck.clear()
        scene.deliver(1)
        scene.deliver()
        assert notes[4:] == ["a ends", [Position("out", 0, 7)] * 2]

    def test_publish_sees_who_is_refused_among_those_that_are_not(self, kafka: KafkaInMemory, notes: list[Any]) -> None:
        kafka.refused = {b"1"}
        scene = delivery_scene.Scene(kafka, "at_least_once", middleware=[Noting("a", notes)])
        scene.deliver(0, 1, 2)

        assert order(notes) == ["a begins", "a ends"]
        assert [type(answer) for answer in notes[-1]] == [Position, RefusedForGood, Position]

    @pytest.mark.parametrize("end", ["fault", "other owner", "stop"])
    def test_publish_sees_that_what_is_under_way_is_given_up(
        self, kafka: KafkaInMemory, notes: list[Any], end: str
    ) -> None:
        scene = delivery_scene.Scene(kafka, "at_least_once", middleware=[Noting("a", notes)])
        kafka.stuck = {b"1"}
        scene.deliver(0, 1)
        if end == "fault":
            kafka.faults["hand"] = kafka_errors.KafkaTimeoutError()
            with pytest.raises(UnavailableError):
                scene.deliver(1, 2)
        elif end == "other owner":
            scene.partitions.clear()
            scene.deliver()
        else:
            scene.delivery.close()

        assert set(order(notes)) == {"a begins", "a sees UnavailableError"}

    def test_a_transaction_is_a_commit_with_what_it_publishes_inside(
        self, kafka: KafkaInMemory, notes: list[Any]
    ) -> None:
        scene = delivery_scene.Scene(kafka, "exactly_once", middleware=[Noting("a", notes)])
        scene.deliver(0)

        assert notes == [
            {("orders", 0): 1}, "a begins", "a begins", "a ends", [Position("out", 0, 7)], "a ends", None,
        ]  # fmt: skip

    def test_a_transaction_that_is_refused_commits_nothing(self, kafka: KafkaInMemory, notes: list[Any]) -> None:
        kafka.refused = {b"0"}
        scene = delivery_scene.Scene(kafka, "exactly_once", middleware=[Noting("a", notes)])
        scene.deliver(0)

        assert order(notes) == ["a begins", "a begins", "a ends", "a sees RefusedForGood"]


class Out:
    """Publishes everything."""

    def publish(self, records: Any) -> Any:
        return [Position("out", 0, 7) for _ in records]

    def refusal(self, record: OutRecord) -> RefusedForGood | None:
        del record
        return None

    def close(self, timeout_s: float = 5.0) -> None:
        pass


class TestAtStart:
    def test_what_is_no_middleware_is_a_fault_each(self) -> None:
        class Forgets(Middleware):
            def handle(self, event: Event) -> Any:
                return event

        kaufmann = Kaufmann("orders")
        kaufmann.middleware += [Middleware(), LogEvents(), Noting, 5, Forgets()]  # type: ignore[list-item] # that is it
        with pytest.raises(ConfigError) as caught:
            kaufmann.load()

        assert str(caught.value).splitlines() == [
            "middleware: must be objects of Middleware, got the class Noting, give an object",
            "middleware: must be objects of Middleware, got int",
            "middleware: Forgets.handle has no yield",
        ]

    def test_publish_outside_a_handler_has_hooks_too(self, notes: list[Any]) -> None:
        kaufmann = Kaufmann("orders", producer_mod="kaufmann_celery.PublishNothing")
        kaufmann.middleware.append(Noting("a", notes))
        kaufmann.publish("order.placed", {}, format="json")

        assert notes == ["a begins", "a ends", [None]]


class TestLog:
    def test_it_has_a_line_for_each_event_round_and_commit(self, caplog: pytest.LogCaptureFixture) -> None:
        log, event = LogEvents(), TestHandle()
        with caplog.at_level(logging.INFO, "kaufmann_celery.middleware"):
            event.handled(log)
            with pytest.raises(KeyError):
                Hooks([log], "handle").inside(an_event(), lambda: [json.loads("{}")["k"]])
            Hooks([log], "publish").around([1, 2], lambda: [None, PublishError("no")])
            Hooks([log], "commit").around({("orders", 0): 5}, lambda: None)

        lines = [record.getMessage().partition(" in 0.")[0] for record in caplog.records]
        assert lines == [
            "order.placed orders:0:1 at orders:0:1 emitted order.confirmed",
            "order.placed m1 at orders:0:1 raised KeyError",
            "1 records published, 1 refused",
            "committed orders:0 at 5",
        ]


def an_event() -> Event:
    return envelope.event_of(
        "order.placed", Position("orders", 0, 1), key=None, timestamp_ms=0, headers=(), meta={"message_id": "m1"},
        payload={},
    )  # fmt: skip
