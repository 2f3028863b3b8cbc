"""For the tests of services and of clients: a schema registry that fails on request."""

from kaufmann_celery.testing.fake_registry import FakeSchemaRegistry

__all__ = ["FakeSchemaRegistry"]
