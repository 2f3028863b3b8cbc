from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kaufmann_celery.handlers import Handler, Options
from kaufmann_celery.ledger import FIRST, Past
from kaufmann_celery.tasks.celery_out import Envelope, TaskMessage

EVENTS = [Envelope(7, FIRST, None, "text"), Envelope(8, FIRST, None, "text")]
HANDLER = Handler("order.placed", print, Options())
MESSAGE = TaskMessage(HANDLER, "base", "history", "tag", "orders", 2, EVENTS[:1])


def test_a_task_that_is_sent_again_has_its_id() -> None:
    assert MESSAGE.task_id("orders") == replace(MESSAGE).task_id("orders") == "order.placed@orders:2:7.1"


@pytest.mark.parametrize(
    "other",
    [
        lambda: replace(MESSAGE, events=[replace(EVENTS[0], past=Past(2))]).task_id("orders"),
        lambda: replace(MESSAGE, events=EVENTS).task_id("orders"),
        lambda: replace(MESSAGE, events=EVENTS[1:]).task_id("orders"),
        lambda: replace(MESSAGE, partition=1).task_id("orders"),
        lambda: MESSAGE.task_id("another group"),
    ],
    ids=["next dispatch", "in company", "offset", "partition", "group"],
)
def test_another_dispatch_has_another_id(other: Callable[[], str]) -> None:
    """Celery never forgets a revoked one: under its id the event would never run again."""
    assert other() != MESSAGE.task_id("orders")


def test_who_may_begin_its_claims_travels_with_it() -> None:
    assert MESSAGE.args() == ["base", "history", "tag", "orders", 2, [[7, 1, 1, 0, None]], ["text"]]
