"""The connections over which the ledger's scripts are sent, on a real Redis."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import LedgerConnection, lines
from kaufmann_celery.ledger.address import keys_of
from tests.integration.ledger_scene import LedgerScene
from tests.integration.redis_servers import connected, running

AUDIT = ("audit", keys_of("kaufmann:{lines}"), [1, "m", "none"])


def kill_all_connections(connection: LedgerConnection) -> None:
    client: Any = connection.client
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def test_a_connection_that_redis_has_closed_is_made_anew(
    connection: LedgerConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was asked over it meanwhile, so nothing is in doubt. A moment after an answer nobody looks."""
    monkeypatch.setattr(lines, "_FRESH_S", -1.0)
    connection.run(*AUDIT)
    kill_all_connections(connection)
    assert connection.run(*AUDIT) == [b"LOST"]


def test_a_connection_that_is_cut_before_the_answer_is_not_used_again() -> None:
    with running("valkey") as url, connected(url) as connection:
        connection.run(*AUDIT)
        client: Any = connection.client
        client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        wait = connection.ask(AUDIT[0], [AUDIT[1:]])
        kill_all_connections(connection)
        with pytest.raises(UnavailableError):
            wait()
        client.execute_command("CLIENT", "UNPAUSE")
        assert connection.run(*AUDIT) == [b"LOST"]


def test_a_redis_that_has_forgotten_the_scripts_is_told_them_again(scene: LedgerScene) -> None:
    owner = scene.owner()
    scene.connection.client.script_flush()
    assert owner.claim([1, 2, 3]) == {}
    assert scene.held().claims.keys() == {1, 2, 3}


def test_answers_come_in_the_order_of_the_questions_and_one_error_spoils_no_line(
    connection: LedgerConnection,
) -> None:
    connection.client.set("kaufmann:{lines}:owner-is-text", "text")
    bad = ["kaufmann:{lines}:owner-is-text", *AUDIT[1][1:]]
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        connection.run_many("audit", [AUDIT[1:], (bad, AUDIT[2]), AUDIT[1:]])
    assert connection.run_many("audit", [AUDIT[1:]] * 3) == [[b"LOST"]] * 3


def test_threads_have_lines_of_their_own(scene: LedgerScene) -> None:
    owner = scene.owner()

    def claimed(offset: int) -> bool:
        return owner.claim([offset]) == {}

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(claimed, range(200)))
    assert scene.held().claims.keys() == set(range(200))


def test_a_forked_child_uses_no_line_of_its_parent(connection: LedgerConnection) -> None:
    connection.run(*AUDIT)
    wait = connection.ask(AUDIT[0], [AUDIT[1:]])
    child = os.fork()
    if child == 0:
        answered = connection.run(*AUDIT) == [b"LOST"]
        os._exit(0 if answered else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert wait() == [[b"LOST"]]
    assert connection.run(*AUDIT) == [b"LOST"]
