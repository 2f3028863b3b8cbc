"""Failures that no worker can report: what the ingester itself says of an event. Each becomes an error event."""

from __future__ import annotations

from dataclasses import replace

from kaufmann_celery.config import Config
from kaufmann_celery.errors import WorkerDied, message_of
from kaufmann_celery.outputs.composing import utc_now
from kaufmann_celery.outputs.error_event import ErrorEvents, FailedEvent, dead_letter
from kaufmann_celery.outputs.outcome import Outcome, OutRecord
from kaufmann_celery.partitions.owned import OwnedPartition
from kaufmann_celery.partitions.pending import Pending
from kaufmann_celery.transcoders.headers import headers_of


class Failures:
    """Makes the outcomes of failed events. Blocks on the schema registry for what its cache does not hold."""

    def __init__(self, config: Config, error_events: ErrorEvents) -> None:
        self._config = config
        self._error_events = error_events

    def undecodable(self, owned: OwnedPartition, pending: Pending) -> Outcome:
        """Return what becomes of a record that could not be decoded."""
        assert pending.decoded.error is not None
        failed = self._failed(owned, pending, pending.decoded.error, payload=self._raw(pending))
        return self._outcome(owned, failed)

    def worker_died(self, pending: Pending) -> WorkerDied:
        """Return the error of an event that took its worker down too often."""
        return WorkerDied(f"its worker process died each of the {pending.past.deaths} times that it ran alone")

    def ended(self, owned: OwnedPartition, pending: Pending, error: Exception) -> Outcome:
        """Return what becomes of an event whose run was ended from outside: a hard time limit, a revoke."""
        # The run that was ended has raised the dispatch number already.
        failed = replace(
            self._failed(owned, pending, error, pending.decoded.payload()), attempts=max(1, pending.past.attempt - 1)
        )
        return self._outcome(owned, failed)

    def cut(self, owned: OwnedPartition, pending: Pending, outcome: Outcome, record: OutRecord) -> OutRecord | None:
        """Return *record* of a failed event's *outcome* without what it may lose to fit its topic; None = nothing."""
        failed = FailedEvent(
            pending.decoded.name, owned.position_of(pending.offset), outcome.error_type, outcome.error,
            outcome.attempts, pending.record.timestamp, pending.record.key, pending.decoded.meta,
            headers=headers_of(pending.record),
        )  # fmt: skip
        if record.kind == "dead_letter":
            return dead_letter(self._config, pending.record, failed, cut=True)
        if record.kind != "error":
            return None
        made = self._error_events.records(failed, incarnation=owned.ledger.incarnation, now=utc_now())
        return next((one for one in made if one.topic == record.topic), None)

    @property
    def has_dead_letters(self) -> bool:
        """Return whether `dead_letter_topic` is set."""
        return self._config.dead_letter_topic is not None

    def dead_letter(self, owned: OwnedPartition, pending: Pending, outcome: Outcome) -> OutRecord | None:
        """Return the undecodable record as it was, for `dead_letter_topic`; None where that is not set."""
        failed = FailedEvent(
            pending.decoded.name, owned.position_of(pending.offset), outcome.error_type, outcome.error,
            outcome.attempts, pending.record.timestamp, pending.record.key,
        )  # fmt: skip
        return dead_letter(self._config, pending.record, failed)

    def _outcome(self, owned: OwnedPartition, failed: FailedEvent) -> Outcome:
        return self._error_events.outcome(failed, incarnation=owned.ledger.incarnation, now=utc_now())

    def _failed(self, owned: OwnedPartition, pending: Pending, error: Exception, payload: object) -> FailedEvent:
        return FailedEvent(
            pending.decoded.name, owned.position_of(pending.offset), type(error).__name__, message_of(error),
            pending.past.attempt, pending.record.timestamp, pending.record.key, pending.decoded.meta, payload,
            headers_of(pending.record),
        )  # fmt: skip

    def _raw(self, pending: Pending) -> bytes | None:
        value: bytes | None = pending.record.value
        return value if value is not None and len(value) <= self._config.max_event_bytes else None
