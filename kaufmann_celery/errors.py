"""The errors, as a tree. One root; a class exists only where someone handles it differently.

KaufmannError
├── ConfigError             settings or handlers are wrong; every fault in one message (exit code 2)
├── UnavailableError        a service does not answer; nothing is wrong with the event: wait and retry (69)
├── EventError              something is wrong with this one event: it becomes an error event
│   ├── DecodeError         its bytes cannot be read
│   ├── EncodeError         an output does not fit its schema, or has none; a PublishError too
│   ├── EventTooLarge       larger than max_event_bytes
│   └── WorkerDied          its handler took the worker process down max_attempts times
├── ConsumerError           Kafka will not let this ingester consume: not authorized, for instance
├── PublishError            Kafka refused a record, or did not acknowledge it in time; or it cannot be encoded
│   └── RefusedForGood      and will never take it: the event that emitted it fails
└── LocalStackError         a process of the local stack did not start

A handler raises `Retry` to be run again later.
"""

from __future__ import annotations

from datetime import timedelta


class KaufmannError(Exception):
    """Something in kaufmann-celery failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class ConfigError(KaufmannError):
    """Settings are wrong. `kaufmann config` shows each value and where it came from."""


class UnavailableError(KaufmannError):
    """A service does not answer. Nothing is lost: try again when it is back."""


class EventError(KaufmannError):
    """Something is wrong with this one event, so it becomes an error event."""


class PublishError(KaufmannError):
    """Kafka refused the record, or did not acknowledge it in time."""


class DecodeError(EventError):
    """The record's bytes cannot be read. Its error event names the position."""


class EncodeError(EventError, PublishError):
    """An output does not fit its schema, or has none. Register it with `kaufmann migrate-schemas`."""


class EventTooLarge(EventError):
    """The record, or what its handler emitted, is larger than `max_event_bytes`."""


class WorkerDied(EventError):
    """The handler took its worker process down each time it ran. See the worker's log for the signal."""


class ConsumerError(KaufmannError):
    """Kafka will not let this ingester consume. Check the group's and the topics' permissions."""


class RefusedForGood(PublishError):
    """Kafka will never take this record: unknown topic or partition, not authorized, too large."""

    def __init__(self, message: str, *, too_large: bool = False, of_topic: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large
        #: Its topic is at fault, as is known before anything is sent: it may yet be created, or allowed.
        self.of_topic = of_topic


class LocalStackError(KaufmannError):
    """A process of the local stack did not start. Its last log lines are in the message."""


class Retry(Exception):
    """Raise in a handler to have the event run again later.

    *countdown* is in seconds (float) or a timedelta; None means the handler's own back-off.
    """

    def __init__(self, message: str = "", *, countdown: float | timedelta | None = None) -> None:
        super().__init__(message)
        self.countdown = countdown.total_seconds() if isinstance(countdown, timedelta) else countdown


#: To these Python adds what may have been meant.
_SUGGESTING = (AttributeError, NameError)


def message_of(error: BaseException) -> str:
    """Return the error's message as text that can be printed and sent, whatever the exception's class makes of it."""
    is_plain = type(error).__str__ is BaseException.__str__ and not isinstance(error, _SUGGESTING)
    is_text = is_plain and len(error.args) == 1 and type(error.args[0]) is str
    text = error.args[0] if is_text else _printed(error)
    return text.encode(errors="backslashreplace").decode()


def _printed(error: BaseException) -> str:
    from traceback import TracebackException

    return str(TracebackException(type(error), error, None))  # `str(error)` may itself raise
