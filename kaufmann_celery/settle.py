"""Step 5, settle, the result callback: publish what the outcomes asked for, then finish.

A whole round at a time, in the order of each partition: what is published, and what is thereby finished, so that
one transaction could hold both. What Kafka refuses for good becomes that event's failure; what may pass waits.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kaufmann_celery.failures import Failures
from kaufmann_celery.outcome import Outcome, OutRecord, decode
from kaufmann_celery.partition import OwnedPartition
from kaufmann_celery.publish import KafkaOut, RefusedForGood

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What became of events since the start of the ingester."""

    handled: int = 0
    failed: int = 0
    published: int = 0


#: An error event of fewer bytes has no payload left to cut.
_SMALLEST_CUT = 8192


class Settler:
    """Settles rounds. Blocks until Kafka has acknowledged them."""

    def __init__(self, kafka: KafkaOut, failures: Failures, counts: Counts) -> None:
        self._kafka = kafka
        self._failures = failures
        self._counts = counts

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
            owned.finish(offset)
        self._replace(owned, refused)

    def _publish(self, owned: OwnedPartition, outcomes: Mapping[int, Outcome]) -> dict[int, Outcome | None]:
        """Publish; return what instead became of the events with a record that Kafka refused for good."""
        refused: dict[int, Outcome | None] = {}
        sent: list[tuple[int, OutRecord]] = []
        for offset, made in outcomes.items():
            outcome = self._with_dead_letter(owned, offset, made)
            # All of an event's records or none: what can be known before sending is asked for first.
            bad = next(((one, why) for one in outcome.records if (why := self._kafka.refusal(one))), None)
            if bad is None:
                sent += [(offset, record) for record in outcome.records]
            else:
                refused[offset] = self._instead(owned, offset, outcome, *bad)
        answers = self._kafka.publish([record for _, record in sent]) if sent else []
        for (offset, record), answer in zip(sent, answers, strict=True):
            if isinstance(answer, RefusedForGood):
                refused[offset] = self._instead(owned, offset, refused.get(offset) or outcomes[offset], record, answer)
            else:
                self._counts.published += 1
        return refused

    def _with_dead_letter(self, owned: OwnedPartition, offset: int, outcome: Outcome) -> Outcome:
        pending = owned.pending.get(offset)
        if not outcome.failed or pending is None or pending.decoded.error is None:
            return outcome
        letter = self._failures.dead_letter(owned, pending, outcome)
        return outcome if letter is None else replace(outcome, records=(*outcome.records, letter))

    def _instead(
        self, owned: OwnedPartition, offset: int, outcome: Outcome, record: OutRecord, error: RefusedForGood
    ) -> Outcome | None:
        """Return the outcome that takes this one's place; None where its record has yet to be read again."""
        pending = owned.pending.get(offset)
        if pending is None:
            return None
        if not outcome.failed:
            return self._failures.refused(owned, pending, error)
        # Already about a failure: what cannot be published is cut to fit, or left out, and the log says so.
        position = owned.position_of(offset)
        log.critical("%s of %s cannot be published as it is: %s", record.kind, position, error, extra={"action": "cut"})
        if error.too_large and record.kind == "error" and record.size > _SMALLEST_CUT:
            return self._failures.cut(owned, pending, outcome)
        rest = tuple(one for one in outcome.records if one is not record)
        return replace(outcome, records=rest)

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
