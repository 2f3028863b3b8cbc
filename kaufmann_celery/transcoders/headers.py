"""Record headers: the names of our own, which begin with `kaufmann-`, and those of a record as they travel."""

from __future__ import annotations

from itertools import chain
from typing import Any

from kaufmann_celery.event import Headers

#: On every output of a handler: the service that wrote it, in whichever group, so that its own globs pass over it.
EMITTER = "kaufmann-emitter"
#: An event's meta as JSON, where its schema has no place for it.
META = "kaufmann-meta"
#: On what follows from a consumed event: that event's id, and the id of the event with which the chain began.
PARENT = "kaufmann-parent-id"
ROOT = "kaufmann-root-id"


def headers_of(record: Any) -> Headers:
    """Return the headers of a Kafka record; one without a value has an empty one."""
    return tuple((name, value or b"") for name, value in record.headers) if record.headers else ()


def size_of(headers: Headers) -> int:
    """Return the bytes of names and values."""
    return sum(map(len, chain.from_iterable(headers))) if headers else 0
