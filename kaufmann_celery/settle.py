"""Step 5, settle, the result callback: publish what the outcomes asked for, then finish.

A whole round at a time, in the order of each partition: what is published, and what is thereby finished, so that
one transaction could hold both. What Kafka refuses for good becomes that event's failure; what may pass waits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io.kafka_out import KafkaOut, RefusedForGood
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.outputs.outcome import Outcome, OutRecord, decode
from kaufmann_celery.partitions.owned import OwnedPartition

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What became of events since the start of the ingester."""

    handled: int = 0
    failed: int = 0
    published: int = 0


class Settler:
    """Settles rounds. Blocks until Kafka has acknowledged them."""

    def __init__(self, kafka: KafkaOut, failures: Failures, counts: Counts) -> None:
        self._kafka = kafka
        self._failures = failures
        self._counts = counts
        #: Where dead letters were published, cut, or given up, and the outcome waits for the rest.
        self._lettered: set[Position] = set()

    def settle(self, owned: OwnedPartition, found: Mapping[int, bytes]) -> None:
        """Publish and finish the outcomes *found* in the ledger.

        Raises `UnavailableError` where Kafka or Redis is away, and `Fenced`: all of it is then done again by
        whoever owns the partition, from the same bytes.
        """
        # Never publish again for what Kafka, or a mark, already holds as finished: a ledger that lost its tail
        # brings such outcomes back.
        stale = [offset for offset in found if owned.is_finished(offset)]
        fresh = {offset: decode(data) for offset, data in found.items() if not owned.is_finished(offset)}
        refused = self._publish(owned, fresh)
        done = [offset for offset in fresh if offset not in refused]
        owned.ledger.settle(done + stale)
        for offset in done:
            self._note(owned, offset, fresh[offset])
            self._lettered.discard(owned.position_of(offset))
            owned.published.discard(offset)
            owned.finish(offset)
        self._replace(owned, refused)

    def _publish(self, owned: OwnedPartition, outcomes: Mapping[int, Outcome]) -> dict[int, Outcome | None]:
        """Publish; return what instead became of the events with a record that Kafka refused for good."""
        refused: dict[int, Outcome | None] = {}
        whole: dict[int, Outcome] = {}
        for offset, made in outcomes.items():
            if offset in owned.published:
                continue
            outcome = self._with_dead_letter(owned, offset, made)
            # All of an event's records or none: what can be known before sending is asked for first.
            if outcome is None:
                refused[offset] = None
            elif bad := [(one, why) for one in outcome.records if (why := self._kafka.refusal(one))]:
                refused[offset] = self._instead(owned, offset, outcome, bad)
            else:
                whole[offset] = outcome
        answers = iter(self._kafka.publish([record for one in whole.values() for record in one.records]))
        for offset, outcome in whole.items():
            answered = [(record, next(answers)) for record in outcome.records]
            if bad := [(record, why) for record, why in answered if isinstance(why, RefusedForGood)]:
                # What Kafka has taken is not published again.
                left = replace(outcome, records=tuple(record for record, _ in bad))
                refused[offset] = self._instead(owned, offset, left, bad)
            else:
                owned.published.add(offset)
            self._counts.published += len(answered) - len(bad)
        return refused

    def _with_dead_letter(self, owned: OwnedPartition, offset: int, outcome: Outcome) -> Outcome | None:
        """Return the outcome with its dead letter; None where the record for it has yet to be read again."""
        if not (outcome.failed and self._failures.has_dead_letters) or owned.position_of(offset) in self._lettered:
            return outcome
        pending = owned.pending.get(offset)
        if pending is None:
            return None if offset >= owned.watermark.position else outcome
        if pending.decoded.error is None or any(record.kind == "dead_letter" for record in outcome.records):
            return outcome
        letter = self._failures.dead_letter(owned, pending, outcome)
        return outcome if letter is None else replace(outcome, records=(*outcome.records, letter))

    def _instead(
        self, owned: OwnedPartition, offset: int, outcome: Outcome, refused: Sequence[tuple[OutRecord, RefusedForGood]]
    ) -> Outcome | None:
        """Return the outcome that takes this one's place; None where its record has yet to be read again."""
        pending = owned.pending.get(offset)
        if pending is None:
            return None
        if not outcome.failed:
            return self._failures.refused(owned, pending, refused[0][1])
        # Already about a failure: what cannot be published is cut to fit, or left out, and the log says so.
        position = owned.position_of(offset)
        self._lettered.add(position)
        records = list(outcome.records)
        for record, error in refused:
            log.critical(
                "%s of %s cannot be published as it is: %s", record.kind, position, error, extra={"action": "cut"}
            )
            at = next(at for at, one in enumerate(records) if one is record)
            smaller = self._failures.cut(owned, pending, outcome, record) if error.too_large else None
            records[at : at + 1] = [smaller] if smaller is not None and smaller.size < record.size else []
        return replace(outcome, records=tuple(records))

    def _replace(self, owned: OwnedPartition, refused: Mapping[int, Outcome | None]) -> None:
        known = {offset: outcome.encode() for offset, outcome in refused.items() if outcome is not None}
        if known:
            owned.ledger.conclude(known)

    def _note(self, owned: OwnedPartition, offset: int, outcome: Outcome) -> None:
        if not outcome.failed:
            self._counts.handled += 1
            return
        self._counts.failed += 1
        pending = owned.pending.get(offset)
        name = pending.decoded.name if pending else "an event"
        log.error(
            "%s %s at %s became an error event: %s after %d attempts",
            name, pending.decoded.id if pending else "", owned.position_of(offset), outcome.error_type,
            outcome.attempts,
            extra={
                "action": "error_event", "event": name, "topic": owned.partition.topic,
                "partition": owned.partition.partition, "offset": offset,
            },
        )  # fmt: skip
