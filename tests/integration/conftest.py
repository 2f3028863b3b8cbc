"""A ledger on each of the real servers, a partition of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from kaufmann_celery.ledger import LedgerConnection
from tests.integration.ledger_scene import LedgerScene
from tests.integration.redis_servers import SERVERS, connected, running


@pytest.fixture(scope="module", params=[*SERVERS, "cluster"])
def connection(request: pytest.FixtureRequest) -> Iterator[LedgerConnection]:
    with running(request.param) as url, connected(url) as one:
        yield one


@pytest.fixture
def scene(connection: LedgerConnection) -> LedgerScene:
    return LedgerScene(connection)
