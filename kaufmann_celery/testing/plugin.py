"""pytest's fixtures for services. Loaded in every run of pytest, so it imports nothing until a fixture is used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann
    from kaufmann_celery.testing import FakeSchemaRegistry, MockBus

_NO_APP = """kaufmann_bus needs to know the service: define a fixture kaufmann_app in conftest.py, for instance

    import pytest
    from service import kaufmann

    @pytest.fixture
    def kaufmann_app():
        return kaufmann
"""


@pytest.fixture
def kaufmann_app() -> Kaufmann:
    """Return the service under test, its `Kaufmann` object or its Celery app. Defined by the user."""
    pytest.fail(_NO_APP, pytrace=False)


@pytest.fixture
def kaufmann_bus(kaufmann_app: object) -> Iterator[MockBus]:
    """Return a `MockBus` over the fixture `kaufmann_app`, for one test."""
    from celery import Celery

    from kaufmann_celery import ConfigError, Kaufmann
    from kaufmann_celery.testing import MockBus

    if not isinstance(kaufmann_app, Kaufmann | Celery):
        got = type(kaufmann_app).__name__
        pytest.fail(f"the fixture kaufmann_app has to return the service's Kaufmann object, got {got}", pytrace=False)
    try:
        bus = MockBus(kaufmann_app)
    except ConfigError as error:
        pytest.fail(f"the service cannot start:\n{error}", pytrace=False)
    with bus:
        yield bus


@pytest.fixture
def kaufmann_registry() -> Iterator[FakeSchemaRegistry]:
    """Return a running `FakeSchemaRegistry`, empty, for one test."""
    from kaufmann_celery.testing import FakeSchemaRegistry

    with FakeSchemaRegistry() as registry:
        yield registry
