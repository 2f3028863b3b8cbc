"""What is kept of replays, in each kind of Redis."""

from __future__ import annotations

from kaufmann_celery.ledger import LedgerConnection
from kaufmann_celery.ledger.clearing import clear
from kaufmann_celery.ledger.replayed import Replay, Replays
from tests.integration.ledger_scene import LedgerScene

DONE, ASKED = Replay(1000, 2, 3000, is_done=True), Replay(0, 1, 2**41)


def test_what_was_replayed_is_read_back_and_outlives_the_ledger(
    connection: LedgerConnection, scene: LedgerScene
) -> None:
    replays, base, other = Replays(connection), scene.base, f"{scene.base}.other"
    replays.note(base, {17: DONE, 2**62: ASKED})
    replays.note(base, {})
    clear(connection, [base, other])

    assert replays.of([base, other]) == [{17: DONE, 2**62: ASKED}, {}]
    replays.forget(base, [17])
    replays.forget(base, [])
    assert replays.of([base]) == [{2**62: ASKED}]
