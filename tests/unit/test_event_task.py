"""What Celery hears of an event's task."""

from __future__ import annotations

import traceback
from typing import Any

import pytest
from celery import Celery, signals
from celery.app.trace import build_tracer

from kaufmann_celery import Kaufmann
from kaufmann_celery.tasks.event_task import EventTask


def the_failing_handler() -> None:
    raise LookupError("no stock")


def failed(monkeypatch: pytest.MonkeyPatch, run: Any) -> Any:
    """Have Celery run a task that does *run*; return what it keeps of its failure."""
    monkeypatch.setattr(EventTask, "run", run)
    kaufmann = Kaufmann("orders", celery=Celery(broker="memory://", set_as_current=False))
    kaufmann.on("order.placed")(print)
    task = next(one for name, one in kaufmann.celery.tasks.items() if "order.placed" in name)
    kept: list[Any] = []

    def hear(einfo: Any, **_: Any) -> None:
        kept.append(einfo)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signals.task_failure, "receivers", [])
        signals.task_failure.connect(hear)
        build_tracer(task.name, task, app=kaufmann.celery)("id", (), {}, {})
    return kept[0]


def test_celery_keeps_of_a_traceback_what_begins_with_the_task_and_its_text_is_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    einfo = failed(monkeypatch, lambda *_: the_failing_handler())

    assert [frame.name for frame in traceback.extract_tb(einfo.tb)] == ["<lambda>", "the_failing_handler"]
    assert "in trace_task" in einfo.traceback


def test_one_that_is_celerys_own_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    einfo = failed(monkeypatch, None)

    assert "trace_task" in [frame.name for frame in traceback.extract_tb(einfo.tb)]
