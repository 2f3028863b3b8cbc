"""The one-machine stack for demo, development and tests: real Kafka, Redis and schema registry."""

from __future__ import annotations

from kaufmann_celery.local.stack import LocalStack, ServiceStatus
from kaufmann_celery.local.temporary import temporary_stack

__all__ = ["LocalStack", "ServiceStatus", "temporary_stack"]
