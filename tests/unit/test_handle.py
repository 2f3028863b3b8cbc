from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kaufmann_celery.errors import Retry, UnavailableError
from kaufmann_celery.event import Event
from kaufmann_celery.handle import TaskRun
from kaufmann_celery.handlers import Handler
from kaufmann_celery.ledger import Report, RunLedger
from kaufmann_celery.middleware import Hooks
from kaufmann_celery.outputs.outcome import Outcome
from kaufmann_celery.tasks import envelope
from kaufmann_celery.tasks.given import Given
from kaufmann_celery.worker import leases
from kaufmann_celery.worker.leases import Leases
from kaufmann_celery.worker.runtime import WorkerRuntime


@dataclass
class Ledger:
    """Accepts what it is told to, and keeps the reports, call by call."""

    refuses: set[int] = field(default_factory=set)
    #: Refused when they are reported: another run took them over.
    overtaken: set[int] = field(default_factory=set)
    reported: list[list[Report]] = field(default_factory=list)
    #: The last event's offset.
    last: int = 3
    base: str = "base"
    incarnation: str = "history"
    lease: float = 60.0
    #: How often Redis is away, by what is called; and whose lease was lost.
    away: dict[str, int] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    #: What the owner is woken with, call by call.
    texts: list[str] = field(default_factory=list)
    gave_back: threading.Event = field(default_factory=threading.Event)
    reported_two: threading.Event = field(default_factory=threading.Event)

    def begin(self, events: Sequence[tuple[int, int]]) -> set[int]:
        self._call("begin")
        return {offset for offset, _ in events} - self.refuses

    def renew(self, events: Sequence[tuple[int, int]], _size: int) -> set[int]:
        self._call("renew")
        return {offset for offset, _ in events} - self.lost

    def finish(self, reports: Sequence[Report], *, last: bool, text: str) -> set[int]:
        self._call("finish")
        self.texts.append(text)
        self.reported.append(list(reports))
        if len(reports) == 2:
            self.reported_two.set()
        if text and json.loads(text)[1] == "":  # of no handler: given back, or reported meanwhile
            self.gave_back.set()
        else:
            assert last == (reports[-1].offset == self.last)
        return {report.offset for report in reports} & self.overtaken

    def _call(self, what: str) -> None:
        if self.away.get(what, 0) > 0:
            self.away[what] -= 1
            raise UnavailableError


@dataclass
class Scene:
    """One task of the events 1, 2 and 3, in lanes."""

    ledger: Ledger = field(default_factory=Ledger)
    ran: list[int] = field(default_factory=list)
    retries: set[int] = field(default_factory=set)
    #: Takes until others are given back, or for a while.
    hangs: int = 0
    never_gives_back: bool = False
    fails: bool = False

    def run(self, *lanes: int | None, text: str | None = None) -> TaskRun:
        runtime = SimpleNamespace(
            leases=Leases(60.0), config=SimpleNamespace(max_event_bytes=10**6), handle_hooks=Hooks((), "handle"),
            on_error=lambda _: None, error_events=SimpleNamespace(outcome=lambda *_, **__: Outcome((), "ValueError")),
        )  # fmt: skip
        handler = Handler("order.placed", self._handle)
        run = TaskRun(cast(WorkerRuntime, runtime), handler, cast(RunLedger, self.ledger), "orders", 0)
        text = text or envelope.pack(
            "order.placed", key=None, raw_key=b"order.placed", timestamp_ms=0, headers=(), meta={}, payload={}
        )
        run.run([Given(offset, 1, lane=lane) for offset, lane in enumerate(lanes, start=1)], [text] * len(lanes))
        return run

    def _handle(self, event: Event) -> Any:
        self.ran.append(event.offset)
        if event.offset == self.hangs:
            self.ledger.gave_back.wait(0.5 if self.never_gives_back else 10.0)
        if event.offset in self.retries:
            raise Retry(countdown=60)
        if self.fails:
            raise ValueError("no stock")

    @property
    def held(self) -> list[int]:
        return [report.offset for reports in self.ledger.reported for report in reports if report.held]


def test_events_without_a_lane_are_reported_together() -> None:
    scene = Scene()
    scene.run(None, None, None)

    assert scene.ran == [1, 2, 3]
    assert [len(reports) for reports in scene.ledger.reported] == [3]


def test_an_event_is_reported_before_the_next_of_its_lane_begins() -> None:
    scene = Scene()
    scene.run(1, 2, 1)

    assert scene.ran == [1, 2, 3]
    assert [[report.offset for report in reports] for reports in scene.ledger.reported] == [[1, 2], [3]]
    # Its owner need not look before the last.
    assert [bool(text) and json.loads(text)[2] for text in scene.ledger.texts] == [False, 3]


def test_lanes_take_turns_so_that_one_report_does_for_many() -> None:
    scene = Scene(Ledger(last=4))
    scene.run(1, 1, 2, 1, 2)

    assert scene.ran == [1, 3, 2, 5, 4]
    assert [[report.offset for report in reports] for reports in scene.ledger.reported] == [[1, 3], [2, 5], [4]]


def test_a_lane_stops_at_the_first_that_does_not_succeed_and_the_others_go_on() -> None:
    scene = Scene(retries={1})
    scene.run(1, 2, 1)

    assert (scene.ran, scene.held) == ([1, 2], [3])


def test_a_late_copy_runs_nothing_behind_an_event_that_is_not_its_own() -> None:
    scene = Scene(Ledger(refuses={1}))
    scene.run(1, 2, 1)

    assert (scene.ran, scene.held) == ([2], [3])


def test_nothing_runs_behind_an_event_that_another_run_took_over() -> None:
    scene = Scene(Ledger(overtaken={1}))
    scene.run(1, 2, 1)

    assert (scene.ran, scene.held) == ([1, 2], [3])


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(leases, "_LONG_S", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("away", [0, 1, 3])
def test_what_waits_behind_an_event_that_takes_long_is_given_back_and_not_run(away: int) -> None:
    scene = Scene(Ledger(away={"finish": away}), hangs=2)
    scene.run(None, None, None)

    assert (scene.ran, scene.held) == ([1, 2], [3])
    assert scene.ledger.gave_back.is_set()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("away", [0, 2])
def test_what_ran_before_an_event_that_takes_long_is_reported_meanwhile(away: int) -> None:
    scene = Scene(Ledger(away={"finish": away}), hangs=3)
    scene.ledger.gave_back = scene.ledger.reported_two
    scene.run(None, None, None)

    assert scene.ledger.reported_two.is_set()
    assert [[report.offset for report in reports] for reports in scene.ledger.reported] == [[1, 2], [3]]


@pytest.mark.usefixtures("impatient")
def test_what_has_to_run_after_others_of_its_task_is_not_given_back() -> None:
    scene = Scene(hangs=1, never_gives_back=True)
    scene.run(1, 2, 1)

    assert (scene.ran, scene.held) == ([1, 2, 3], [])


@pytest.mark.usefixtures("impatient")
def test_what_was_given_back_is_renewed_no_more() -> None:
    kept = leases.KeptLease(cast(RunLedger, Ledger()), [(1, 1), (2, 1)], time.monotonic() - 1.0, [1, 2])
    assert kept.may_start(1)
    kept._started_at -= 1.0
    assert kept.renew() == {1, 2}
    kept.give_back()

    assert kept.renew() == {1}
    assert not kept.may_start(2)


def test_what_another_runs_is_not_run_nor_even_unpacked() -> None:
    scene = Scene(Ledger(refuses={1, 2, 3}))
    scene.run(None, None, None, text="not what a task carries")

    assert (scene.ran, scene.ledger.reported) == ([], [])


def test_nothing_begins_whose_lease_has_run_out_and_is_anothers() -> None:
    scene = Scene(Ledger(lease=0.0, lost={2}))
    scene.run(None, None, None)

    assert scene.ran == [1, 3]


@pytest.mark.parametrize("what", ["begin", "renew", "finish"])
def test_while_redis_is_away_it_is_tried_again_and_nothing_runs_twice(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("kaufmann_celery.worker.insisting._RETRY_S", 0.001)
    scene = Scene(Ledger(lease=0.0, away={what: 5}))
    scene.run(None, None, None)

    assert scene.ran == [1, 2, 3]
    assert [report.offset for reports in scene.ledger.reported for report in reports] == [1, 2, 3]
    assert scene.ledger.away == {what: 0}


def test_a_traceback_begins_where_the_services_code_does() -> None:
    failed = Scene(Ledger(last=1), fails=True).run(None).failures.first

    assert failed is not None
    assert [frame.name for frame in traceback.extract_tb(failed.__traceback__)] == ["_handle"]
