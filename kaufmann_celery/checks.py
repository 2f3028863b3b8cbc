"""What is checked when a process starts: settings, and what they name. Imported only then."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kaufmann_celery.config.not_yet import check_available
from kaufmann_celery.kafka_io.options import check_options
from kaufmann_celery.middleware import check_middleware
from kaufmann_celery.ordering import Ordering
from kaufmann_celery.outputs.metadata import Metadata
from kaufmann_celery.outputs.producing import check_producer
from kaufmann_celery.outputs.strategies import Partitions, Topics
from kaufmann_celery.tasks.celery_app import check_broker
from kaufmann_celery.transcoders.configured import plugged
from kaufmann_celery.transcoders.json_schemas import JsonSchemas
from kaufmann_celery.transcoders.subjects import Subjects

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

#: Raises `ConfigError`.
Check = Callable[[], object]


def checks_of(kaufmann: Kaufmann) -> list[Check]:
    """Return a check for each thing that can be wrong by itself. Raises `ConfigError` where a setting is."""
    config = kaufmann.config
    return [
        partial(check_available, config),
        partial(check_broker, kaufmann.celery),
        partial(check_options, config),
        partial(Ordering, config, kaufmann.handlers),
        partial(Topics, config),
        partial(Partitions, config),
        partial(Metadata, config),
        partial(check_producer, config),
        partial(Subjects, config),
        partial(plugged, config),
        partial(JsonSchemas, config.schema_path),
        lambda: kaufmann.local_schemas,
        partial(check_middleware, kaufmann.middleware),
    ]
