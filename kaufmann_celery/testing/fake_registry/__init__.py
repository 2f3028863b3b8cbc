"""A schema registry on the loopback interface, for tests of clients in any language, with faults on request."""

from kaufmann_celery.testing.fake_registry.server import FakeSchemaRegistry

__all__ = ["FakeSchemaRegistry"]
