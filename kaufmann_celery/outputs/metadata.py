"""The meta of an output: what the library fills in, what `metadata_mod` makes of it, what the output itself says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from kaufmann_celery.config import Config
from kaufmann_celery.config.fields import Fault
from kaufmann_celery.config.values import topic
from kaufmann_celery.errors import ConfigError, EncodeError
from kaufmann_celery.event import Event, Headers, Meta, Output
from kaufmann_celery.plugged import called, imported
from kaufmann_celery.transcoders import headers as headers_of_ours

#: KaufmannEx's name of the function in `metadata_mod`.
_FUNCTION = "event_metadata"
#: Bytes of an id that are carried on: ids come off the wire.
_MOST_ID = 200


@dataclass(frozen=True, slots=True)
class Cause:
    """The event that an output follows from: its callback and its place in the chain are carried on."""

    #: The consumed event's meta.
    meta: Mapping[str, Any] = field(default_factory=dict)
    #: The consumed event's id.
    id: str | None = None
    #: The id of the event that the chain began with.
    root: str | None = None

    @classmethod
    def of(cls, event: Event) -> Cause:
        """Return *event* as a cause."""
        return cls.known(event.meta, event.id, event.headers)

    @classmethod
    def known(cls, meta: Meta, event_id: str, headers: Headers) -> Cause:
        """Return the cause of which this is known."""
        root = dict(headers).get(headers_of_ours.ROOT)
        return cls(meta, event_id, event_id if root is None else root.decode("utf-8", "replace"))

    @property
    def callback_id(self) -> Any:
        """What the first emitter waits for, as text where its schema has it as a UUID: the output's may not."""
        found = self.meta.get("callback_id")
        return str(found) if isinstance(found, UUID) else found

    @property
    def callback_topic(self) -> Mapping[str, Any] | None:
        """KaufmannEx's `callback_topic`: topic and partition; None without."""
        callback = self.meta.get("callback_topic")
        return callback if isinstance(callback, Mapping) else None

    @property
    def headers(self) -> Headers:
        """What says of an output from which event it follows, and with which the chain began."""
        if self.id is None or self.root is None:
            return ()
        chain = ((headers_of_ours.PARENT, self.id), (headers_of_ours.ROOT, self.root))
        return tuple((name, one.encode()[:_MOST_ID]) for name, one in chain)


NO_CAUSE = Cause()


class Metadata:
    """Makes meta. Raises `ConfigError` where `metadata_mod` names nothing of the kind."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._function = None if config.metadata_mod is None else _function(config.metadata_mod)

    def of(self, output: Output, message_id: str, now: datetime, cause: Cause) -> Meta:
        """Return the meta of *output*. Raises `EncodeError` where the function of `metadata_mod` does not."""
        reply_to = _reply_to(output.reply_to)
        meta = {
            "message_id": message_id,
            "emitter_service": self._config.service_name,
            "emitter_service_id": self._config.service_id,
            "callback_id": cause.callback_id,
            "message_name": output.name,
            "timestamp": now.isoformat(),
            "callback_topic": reply_to,
        }
        if self._function is not None:
            meta |= self._made(self._function, output.name, {**cause.meta, "next_callback_topic": reply_to})
        return {**meta, **(output.meta or {})}

    def _made(self, made_by: Callable[..., Any], name: str, context: Meta) -> Mapping[str, Any]:
        made = called("the function of metadata_mod", made_by, name, context)
        if not isinstance(made, Mapping) or not all(isinstance(key, str) for key in made):
            raise EncodeError(
                f"metadata_mod: {self._config.metadata_mod} returned {type(made).__name__}, expected a dict of meta"
            )
        return made


def _function(path: str) -> Callable[..., Any]:
    found = imported(path, "metadata_mod")
    made_by = getattr(found, _FUNCTION, found)
    if not callable(made_by):
        raise ConfigError(f"metadata_mod: {path} is no function, and has no {_FUNCTION}(event_name, context)")
    return made_by  # type: ignore[no-any-return] # called with a name and a context, it gives meta


def _reply_to(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    name, colon, partition = text.partition(":")
    if colon and not partition.isdecimal():
        raise EncodeError("reply_to: expected topic or topic:partition")
    try:
        return {"topic": topic(name), "partition": int(partition or 0)}
    except Fault as fault:
        raise EncodeError(f"reply_to: expected topic or topic:partition; the topic {fault}") from fault
