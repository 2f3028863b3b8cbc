"""Rounds published exactly once: in a transaction with what the group's offsets are once the round is finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from kafka import TopicPartition

from kaufmann_celery.errors import RefusedForGood
from kaufmann_celery.event import Position
from kaufmann_celery.kafka_io.rounds import Entry, Finish, Refused, records_of, refusals
from kaufmann_celery.kafka_io.transaction import ResultUnknown, Transactions
from kaufmann_celery.ledger import OwnerLedger
from kaufmann_celery.middleware import Hooks, Middleware
from kaufmann_celery.outputs.outcome import OutRecord
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.messages import offsets_by_place
from kaufmann_celery.partitions.owned import OwnedPartition

#: A transaction costs the same whatever is in it: the next begins once twice as long has passed as the last one took,
#: at most so many seconds.
_RESTS = 2
_MOST_REST_S = 0.03


class ExactlyOnce:
    """Publishes in transactions, with what the group's offsets are once the round is finished.

    No other commit of a partition that is owned may be on its way at the same time: a plain one that Kafka takes
    between the two ends of a transaction would stay when that is committed, and what it published is not in it.
    """

    is_behind = False

    def __init__(
        self,
        transactions: Transactions,
        partitions: Mapping[TopicPartition, OwnedPartition],
        *,
        reread: Callable[[OwnedPartition], None],
        middleware: Sequence[Middleware] = (),
    ) -> None:
        self._publish_hooks = Hooks(middleware, "publish")
        self._commit_hooks = Hooks(middleware, "commit")
        self._transactions = transactions
        self._partitions = partitions
        self._reread = reread
        self.rest_until = 0.0

    def prepare(self) -> None:
        """Connect, and have Kafka end what an earlier producer left open."""
        self._transactions.prepare()

    def deliver(self, entries: Sequence[Entry], finish: Finish) -> list[Refused]:
        """Publish in one transaction; events with what Kafka refuses are found by trying without them."""
        if not any(entry.outcome.records for entry in entries):
            # Their offsets go with the next transaction.
            finish(entries)
            return []
        refused = {entry: why for entry, why in self._attempt(entries, finish).items() if why}
        if not refused:
            return []
        if len(entries) == 1:
            return [self._judged(entry, why) for entry, why in refused.items()]
        # Some are refused only because they were sent together with what is.
        rest = [entry for entry in entries if entry not in refused] or entries[: len(entries) // 2]
        kept = set(rest)
        return [
            one
            for part in (rest, [entry for entry in entries if entry not in kept])
            for one in self.deliver(part, finish)
        ]

    def commit(self) -> None:
        """Commit what is finished and published already."""
        self._attempt([], lambda _: None)

    def let_go(self, leaving: Collection[OwnedPartition], finish: Finish) -> None:
        """Nothing: no answer is awaited between rounds."""

    def close(self) -> None:
        """Close the producer."""
        self._transactions.close()

    def _judged(self, entry: Entry, why: Sequence[tuple[OutRecord, RefusedForGood]]) -> Refused:
        """Say which records of one event are refused: a failed one is published without them, so each by itself."""
        ledger, records = entry.owned.ledger, entry.outcome.records
        if entry.outcome.failed and len(records) > 1:
            commits = {entry.owned.partition: _commit_of(entry.owned)}
            tried = [
                (one, self._transactions.trial(one, commits, generation=ledger.generation, member=ledger.member))
                for one in records
            ]
            # None of them: only all together are.
            why = [(one, answer) for one, answer in tried if isinstance(answer, RefusedForGood)] or why
        return Refused(entry, entry.outcome, why)

    def _attempt(self, entries: Sequence[Entry], finish: Finish) -> dict[Entry, list[tuple[OutRecord, RefusedForGood]]]:
        finishing: dict[OwnedPartition, set[int]] = {}
        for entry in entries:
            finishing.setdefault(entry.owned, set()).add(entry.offset)
        carried = [one for one in self._partitions.values() if one.uncommitted or one in finishing]
        commits = {one.partition: _commit_of(one, finishing.get(one, ())) for one in carried}
        if not commits:
            return {}
        began = time.monotonic()
        try:
            found = self._committed(records_of(entries), commits, carried[0].ledger)
        except ResultUnknown:
            for one in carried:
                self._reread(one)
            raise
        now = time.monotonic()
        self.rest_until = now + min(_MOST_REST_S, _RESTS * (now - began))
        answers = iter(found)
        refused = {entry: refusals(entry, answers) for entry in entries}
        if not any(refused.values()):
            finish(entries)
            for one in carried:
                one.committed = one.forgettable = commits[one.partition]
                one.uncommitted = 0
        return refused

    def _committed(
        self, records: Sequence[OutRecord], commits: Mapping[TopicPartition, Committed], ledger: OwnerLedger
    ) -> Sequence[Position | RefusedForGood]:
        """Publish and commit, inside the hooks of both."""
        publish = partial(
            self._transactions.commit, records, commits, generation=ledger.generation, member=ledger.member
        )
        begun = self._commit_hooks.begin(offsets_by_place(commits))
        try:
            answers = self._publish_hooks.around(records, publish) if records else publish()
        except BaseException as error:
            begun.end(error=error)
            raise
        begun.end(error=next((answer for answer in answers if isinstance(answer, RefusedForGood)), None))
        return answers


def _commit_of(owned: OwnedPartition, finishing: Collection[int] = ()) -> Committed:
    return owned.watermark.committed(owned.ledger.incarnation, finishing)
