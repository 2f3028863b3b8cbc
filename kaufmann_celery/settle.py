"""Step 5, settle, the result callback: publish what the outcomes asked for, then finish.

A whole round at a time, over all partitions and in the order of each: what is published, and what is thereby
finished, so that one transaction can hold both. What Kafka refuses for good becomes that event's failure; what may
pass waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io.delivery import Delivery
from kaufmann_celery.kafka_io.rounds import Entry, Refused
from kaufmann_celery.outage import Outage
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.outputs.outcome import Outcome, decode
from kaufmann_celery.outputs.producing import RecordsOut
from kaufmann_celery.partitions.owned import Guarded, OwnedPartition

log = logging.getLogger(__name__)

#: Events that one line of the log shows.
_SHOWN = 10

#: The outcomes that each ledger holds, in the order of the partition.
Round = Mapping[OwnedPartition, Mapping[int, bytes]]


@dataclass(slots=True)
class Counts:
    """What became of events since the start of the ingester."""

    handled: int = 0
    failed: int = 0
    published: int = 0


class Settler:
    """Settles rounds. Blocks until Kafka has acknowledged them, or for a moment."""

    def __init__(
        self, out: RecordsOut, delivery: Delivery, failures: Failures, counts: Counts, *, publishes: bool = True
    ) -> None:
        self._out = out
        self._publishes = publishes
        self._delivery = delivery
        self._failures = failures
        self._counts = counts
        #: Where dead letters were published, cut, or given up, and the outcome waits for the rest.
        self._lettered: set[Position] = set()
        self._outage = Outage()
        #: Finished, and the ledger is yet to hear of it: Kafka may have acknowledged it after its round.
        self._untold: dict[OwnedPartition, set[int]] = {}

    def settle(self, found: Round, guarded: Guarded) -> None:
        """Publish and finish the outcomes *found* in the ledgers.

        Raises `UnavailableError` where Kafka or Redis is away: what is left is then done again by whoever owns the
        partition, from the same bytes.
        """
        entries, refused = list[Entry](), list[Refused]()
        for owned, outcomes in found.items():
            # Not after what is to be published: Kafka may be away, and the ledger not have heard of it the last time.
            guarded(owned, lambda owned: self._tell_finished(owned, found[owned]))
            for entry in self._to_settle(owned, outcomes):
                # All of an event's records or none: what can be known before sending is asked for first.
                why = [(one, error) for one in entry.outcome.records if (error := self._out.refusal(one))]
                if why:
                    refused.append(Refused(entry, entry.outcome, why))
                else:
                    entries.append(entry)
        refused += self._delivery.deliver(entries, self._finish)
        for owned in [*found, *(self._untold.keys() - found.keys())]:
            guarded(owned, lambda owned: self._tell(owned, found.get(owned, ()), refused))
            self._untold.pop(owned, None)

    def finish(self, owned: OwnedPartition, settled: Iterable[int]) -> None:
        """Note that the ledger has finished these: they were handled, and there was nothing to publish."""
        for offset in settled:
            # A predecessor's waits until its record is read again: before that no commit can say that it is finished.
            if offset in owned.pending:
                self._counts.handled += 1
                owned.finish(offset)

    def let_go(self, leaving: Collection[OwnedPartition], guarded: Guarded) -> None:
        """Finish what is published already of partitions that go to another, or come again: it is published once.

        Blocks for a moment where Kafka owes an answer. The ledger takes it until it is another's.
        """
        self._delivery.let_go(leaving, self._finish)
        for owned in leaving:
            # Where Redis is away it is published again, the same.
            with suppress(UnavailableError):
                guarded(owned, self._tell_finished)
            self._untold.pop(owned, None)

    def _to_settle(self, owned: OwnedPartition, outcomes: Mapping[int, bytes]) -> Iterator[Entry]:
        """Yield what is to be published, and then finished."""
        for offset, data in outcomes.items():
            # Never publish again for what Kafka, or a mark, already holds as finished: a ledger that lost its tail
            # brings such outcomes back. A predecessor's wait until their records are read again: before that no
            # commit can say that they are finished.
            if not owned.is_finished(offset) and offset in owned.pending:
                yield Entry(owned, offset, self._to_publish(owned, offset, decode(data)))

    def _finish(self, entries: Sequence[Entry]) -> None:
        failed = [entry for entry in entries if entry.outcome.failed]
        self._counts.failed += len(failed)
        self._counts.handled += len(entries) - len(failed)
        _log_failures(failed)
        for entry in entries:
            self._counts.published += len(entry.outcome.records)
            self._lettered.discard(entry.owned.position_of(entry.offset))
            entry.owned.finish(entry.offset)
            self._untold.setdefault(entry.owned, set()).add(entry.offset)

    def _to_publish(self, owned: OwnedPartition, offset: int, outcome: Outcome) -> Outcome:
        return self._with_dead_letter(owned, offset, outcome) if self._publishes else replace(outcome, records=())

    def _with_dead_letter(self, owned: OwnedPartition, offset: int, outcome: Outcome) -> Outcome:
        if not (outcome.failed and self._failures.has_dead_letters) or owned.position_of(offset) in self._lettered:
            return outcome
        pending = owned.pending[offset]
        if pending.decoded.error is None or any(record.kind == "dead_letter" for record in outcome.records):
            return outcome
        letter = self._failures.dead_letter(owned, pending, outcome)
        return outcome if letter is None else replace(outcome, records=(*outcome.records, letter))

    def _tell(self, owned: OwnedPartition, outcomes: Iterable[int], refused: Sequence[Refused]) -> None:
        """Have the ledger know what is finished, and what became of events whose records Kafka refuses for good."""
        refused = [one for one in refused if one.entry.owned is owned]
        self._tell_finished(owned, outcomes)
        ended = [one for one in refused if one.left.failed and not self._waits(one)]
        if cut := {one.entry.offset: self._cut(one).encode() for one in ended}:
            owned.ledger.conclude(cut)
        failed = [one for one in refused if not one.left.failed]
        for one in failed:
            owned.pending[one.entry.offset].failure = one.why[0][1]
        if failed:
            owned.ledger.refuse({one.entry.offset: owned.pending[one.entry.offset].past for one in failed})

    def _tell_finished(self, owned: OwnedPartition, outcomes: Iterable[int] = ()) -> None:
        untold = self._untold.get(owned, set())
        if finished := sorted(untold.union(offset for offset in outcomes if owned.is_finished(offset))):
            owned.ledger.settle(finished)
        self._untold.pop(owned, None)

    def _waits(self, refused: Refused) -> bool:
        """Return whether the event waits until a topic is there: nothing else would tell of its failure."""
        missing = [record for record, error in refused.why if error.of_topic]
        errors = [record for record in refused.left.records if record.kind == "error"]
        is_lost = bool(errors) and all(any(one is record for one in missing) for record in errors)
        if not is_lost and not any(record.kind == "dead_letter" for record in missing):
            return False
        why = next(str(error) for _, error in refused.why if error.of_topic)
        if self._outage.is_news(why, time.monotonic()):
            position = refused.entry.owned.position_of(refused.entry.offset)
            log.critical("the failure of %s waits, and its offset: %s", position, why, extra={"action": "wait"})
        return True

    def _cut(self, refused: Refused) -> Outcome:
        """Return the outcome of a failed event without what Kafka refuses: cut to fit, or left out. The log says so."""
        owned, outcome = refused.entry.owned, refused.left
        pending = owned.pending[refused.entry.offset]
        position = owned.position_of(refused.entry.offset)
        self._lettered.add(position)
        records = list(outcome.records)
        for record, error in refused.why:
            log.critical(
                "%s of %s cannot be published as it is: %s", record.kind, position, error, extra={"action": "cut"}
            )
            at = next(at for at, one in enumerate(records) if one is record)
            smaller = self._failures.cut(owned, pending, outcome, record) if error.too_large else None
            records[at : at + 1] = [smaller] if smaller is not None and smaller.size < record.size else []
        return replace(outcome, records=tuple(records))


def _log_failures(failed: Iterable[Entry]) -> None:
    """Log what failed for good; what failed alike has one line."""
    alike: dict[tuple[str, str, str, int], list[Entry]] = {}
    for entry in failed:
        pending, outcome = entry.owned.pending.get(entry.offset), entry.outcome
        has_error_event = any(one.kind == "error" for one in outcome.records)
        ending = "became an error event" if has_error_event else "failed"
        name = pending.decoded.name if pending else "an event"
        alike.setdefault((name, ending, outcome.error_type, outcome.attempts), []).append(entry)
    for (name, ending, error_type, attempts), entries in alike.items():
        shown = ", ".join(map(_label, entries[:_SHOWN]))
        more = f", and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
        positions = [str(entry.owned.position_of(entry.offset)) for entry in entries]
        log.error(
            "%s %s (%s after %d attempts): %s%s", name, ending, error_type, attempts, shown, more,
            extra={"action": "error_event", "event": name, "error_type": error_type, "positions": positions},
        )  # fmt: skip


def _label(entry: Entry) -> str:
    pending = entry.owned.pending.get(entry.offset)
    return f"{pending.id if pending else ''} at {entry.owned.position_of(entry.offset)}".lstrip()
