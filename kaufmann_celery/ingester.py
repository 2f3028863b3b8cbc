"""The ingester: the loop that joins the steps. consume -> decode -> dispatch == workers == settle -> commit.

One thread turns this loop and owns all state. It may wait for Redis, Celery, the registry or Kafka; the consumer's
thread polls on meanwhile. Whatever stops a step leaves its events where they were, and the step is made again. So a
loop that still waits when a stop has taken its time is left behind: nothing is lost by it.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition

from kaufmann_celery.commit import CommitClock, CommitPolicy, Committer, commits_of
from kaufmann_celery.consume import Consumption
from kaufmann_celery.decode import Decoder
from kaufmann_celery.dispatch import Dispatcher
from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.inbox import Inbox
from kaufmann_celery.kafka_io.delivery import delivery
from kaufmann_celery.kafka_io.options import longer_wait_s
from kaufmann_celery.kafka_io.transaction import fence
from kaufmann_celery.ledger.address import wake_channel
from kaufmann_celery.ledger.wake import WakeListener, Woken
from kaufmann_celery.look import Look
from kaufmann_celery.middleware import Hooks
from kaufmann_celery.ordering import Ordering
from kaufmann_celery.outage import Outage
from kaufmann_celery.outputs.failures import Failures
from kaufmann_celery.outputs.producing import records_out
from kaufmann_celery.partitions.blocking import Blocking
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.errand import Errand
from kaufmann_celery.partitions.fencing import Fencing, transactional_id
from kaufmann_celery.partitions.messages import Assigned, CommitDone, ConsumerDied, Fetched, Revoked, Unstable
from kaufmann_celery.partitions.ownership import Ownership
from kaufmann_celery.partitions.until_end import Endless, UntilEnd
from kaufmann_celery.pulse import Pulse
from kaufmann_celery.settle import Counts, Settler
from kaufmann_celery.stopping import ENDED, LEFT, SETTLED, Stop, run_until
from kaufmann_celery.worker.runtime import WorkerRuntime

if TYPE_CHECKING:
    from kaufmann_celery.app import Kaufmann

log = logging.getLogger(__name__)

#: Seconds the loop waits for something to happen; and while events wait for their handler's first measurement.
_IDLE_S = 0.2
_HOLD_S = 0.005
#: Seconds before a step is tried again that a service's absence stopped.
_AWAY_S = 0.3


class Ingester:
    """Consumes the service's topics until told to stop. Made by `Kaufmann.ingester()`."""

    def __init__(
        self, kaufmann: Kaufmann, *, topics: Iterable[str] | None = None, until_end: bool = False,
        errand: Errand | None = None,
    ) -> None:  # fmt: skip
        service = kaufmann.config
        self.config = config = errand.reading(service) if errand else service
        self._topics = list(errand.topics if errand else topics or config.subscription_topics)
        self._inbox = Inbox()
        self._turning = threading.Lock()
        self._stop = Stop(config.shutdown_timeout)
        #: Whether all has ended; else, after `run()`, threads are left that wait for a service that is away.
        self.is_over = False
        self._pulse = Pulse(longer_wait_s(config))
        self.counts = Counts()
        runtime = WorkerRuntime(kaufmann)
        self._out, middleware = records_out(config), kaufmann.middleware
        failures = Failures(service, runtime.error_events)
        decoder = Decoder(
            kaufmann.handlers, runtime.transcoders, service=service.service, hooks=Hooks(middleware, "decode"),
            max_event_bytes=config.max_event_bytes, ordering=Ordering(config, kaufmann.handlers),
        )  # fmt: skip
        self._dispatcher = Dispatcher(kaufmann, decoder, failures, nudge=self._nudge, group=config.consumer_group)
        self._consumption = Consumption(
            config, self._topics, self._inbox,
            settling=self._turning, on_revoke=self._commits_at_revoke, wants=self._wants, beat=self._pulse.beat,
        )  # fmt: skip
        channel = wake_channel(config.redis_prefix, uuid.uuid4().hex)
        self._wake = WakeListener(runtime.ledger, channel, self._inbox)
        self._partitions = Ownership(
            config, runtime.ledger, wake=channel, begin=self._consumption.begin, reopen=self._consumption.reopen,
            step=self._pulse.step,
        )  # fmt: skip
        self._ledger, self._outage = runtime.ledger, Outage()
        life = transactional_id(config, channel)
        self._fencing = Fencing(config, runtime.ledger, own=life, fence=partial(fence, config))
        self._delivery = delivery(
            config, self._out, life, self._partitions.owned, reread=self._partitions.reread, middleware=middleware,
        )  # fmt: skip
        publishes = errand is None or errand.publishes
        self._settler = Settler(self._out, self._delivery, failures, self.counts, publishes=publishes)
        clock = CommitClock(CommitPolicy(config.commit_threshold, config.commit_interval), time.monotonic())
        hooks = Hooks(middleware, "commit")
        self._committer = Committer(clock, self._consumption.commit, at_once=self._delivery.commit, hooks=hooks)
        self._bound = errand.bound if errand else UntilEnd(config, self._topics) if until_end else Endless()
        self._blocking = Blocking(config.max_window)
        self._looking = Look(self._partitions, self._dispatcher, self._settler, lease_s=config.lease, nudge=self._nudge)
        self._turned_at = self._pin_after = 0.0

    def run(self) -> None:
        """Consume until `stop()`, or until all that is to be read is committed. Blocks.

        Returns within `shutdown_timeout` of the stop; where a service is away by then, `is_over` is False.
        Raises what the consumer cannot go on from; the process should then end, and be started again.
        """
        config = self.config
        log.info(
            "ingester of %s: topics %s, group %s, max_demand %d",
            config.service, ",".join(self._topics), config.consumer_group, config.max_demand, extra={"action": "start"},
        )  # fmt: skip
        self._pulse.step()
        try:
            ended = run_until(self._stop, self._loop, leave=self._consumption.stop)
            self.is_over = self._consumption.stop(0.0) and ended
        finally:
            self._pulse.stop()
        if not self.is_over:
            log.warning("stopped while a service is away; nothing is lost by that", extra={"action": "stop"})

    def stop(self) -> None:
        """Have `run()` settle what is finished, commit and return. May be called from any thread or signal handler."""
        self._stop.ask()
        self._inbox.put(Woken())

    @property
    def outstanding(self) -> int:
        """Events dispatched and not finished, over all partitions."""
        return self._partitions.outstanding

    def _loop(self) -> None:
        try:
            self._bound.start(self._consumption.begin)
            self._wake.start()
            self._consumption.start()
            while not self._stop.is_asked and not self._bound.is_committed(self._partitions.owned):
                self._turn(self._wait())
            self._drain()
        finally:
            self._close()

    def _wait(self) -> list[Any]:
        due = self._dispatcher.reruns.next_due(time.monotonic())
        timeout_s = _HOLD_S if self._dispatcher.holds else min(_IDLE_S, due)
        rest_until, reports_until = self._delivery.rest_until, self._dispatcher.rests_until
        enough = self.outstanding // 2
        return self._inbox.wait(timeout_s, rest_until=rest_until, reports_until=reports_until, enough=enough)

    def _turn(self, messages: Iterable[Any]) -> None:
        """One turn of the loop. The lock keeps a revoke out of the middle of it; those before it have been heard."""
        with self._turning:
            self._turned_at = time.monotonic()
            self._pulse.step()
            for message in (*messages, *self._inbox.come()):
                self._hear(message)
            prepare = () if self._stop.is_asked else (self._fencing.fence, self._delivery.prepare)
            for step in (*prepare, self._take_over, self._look, self._dispatch, self._commit, self._note_recovery):
                try:
                    step()
                except UnavailableError as error:
                    self._away(error)

    def _away(self, error: UnavailableError) -> None:
        now = time.monotonic()
        if self._outage.is_news(str(error), now):
            log.warning("%s; waiting", error, extra={"action": "wait"})
        self._looking.away(now)
        self._stop.wait(_AWAY_S)

    def _note_recovery(self) -> None:
        """Say that an outage is over: nothing failed in this turn, and Redis, which it may not have asked, answers."""
        if self._stop.is_asked:  # not all are asked any more
            return
        if self._outage.is_quiet_since(self._turned_at) and not self._delivery.is_behind:
            self._ledger.ping()
            lasted = self._outage.ended(time.monotonic())
            log.warning("all services answer again after %.0f s", lasted, extra={"action": "go_on"})

    def _hear(self, message: Any) -> None:
        owned = self._partitions.owned
        match message:
            case Fetched(partition):
                if partition in owned:
                    taken = self._bound.cut(message)
                    owned[partition].read(taken.records, taken.position)
            case Woken(base, pattern, events, seconds, runner):
                self._looking.wake(base)
                if events:
                    self._dispatcher.grouping.learn(pattern, events, seconds, runner=runner, now=self._turned_at)
            case Assigned():
                self._consumption.heard(message.epoch)
                self._partitions.heard(message)
            case Unstable():
                self._fencing.heard(message)
            case Revoked(partitions):
                leaving = {owned[one] for one in partitions & owned.keys()}
                self._settler.let_go(leaving, self._partitions.guarded)
                self._partitions.drop(*partitions)
            case CommitDone(commits, error):
                self._committed(commits, error)
            case ConsumerDied(error):
                raise error

    def _take_over(self) -> None:
        self._partitions.take_over()
        now = time.monotonic()
        if not self._committer.in_flight and now >= self._pin_after:
            self._committer.send(self._partitions.unpinned(), now)

    def _look(self) -> None:
        if self._looking.look():
            now = time.monotonic()
            for owned in self._partitions:
                self._blocking.look(owned, now, end=self._bound.left(owned))
            self._looking.forget()

    def _dispatch(self) -> None:
        if not self._stop.is_asked:
            self._dispatcher.take(list(self._partitions), self._partitions.guarded, lambda: self.outstanding)
            self._consumption.look()

    def _commit(self) -> None:
        hurry = self._stop.is_asked or self._bound.is_settled(self._partitions.owned)
        self._committer.commit_due(self._partitions.owned, time.monotonic(), hurry=hurry)

    def _committed(self, commits: Mapping[TopicPartition, Committed], error: BaseException | None) -> None:
        self._committer.answered(commits, error, self._partitions.owned)
        self._partitions.answered(commits, error)
        if error is not None:
            self._pin_after = time.monotonic() + _AWAY_S

    def _commits_at_revoke(self, partitions: frozenset[TopicPartition]) -> Mapping[TopicPartition, Committed]:
        """Return what to commit for partitions that are let go. Called under the lock, by kafka-python's thread."""
        return commits_of(owned for owned in self._partitions if owned.partition in partitions)

    def _drain(self) -> None:
        """Settle what is finished and commit it."""
        self._stop.ask()
        self._looking.wake()
        self._turn([])
        while self._stop.left_s(SETTLED) and self._has_to_commit():
            self._turn(self._wait())
        self._bound.say_left(self._partitions)

    def _has_to_commit(self) -> bool:
        return self._committer.in_flight or self._delivery.is_behind or any(one.uncommitted for one in self._partitions)

    def _close(self) -> None:
        self._stop.ask()
        self._consumption.stop(self._stop.left_s(LEFT))
        self._wake.stop()
        self._dispatcher.close()
        self._delivery.close()
        self._out.close(self._stop.left_s(ENDED))
        done = (self.counts.handled, self.counts.failed, self.counts.published)
        log.info("ingester stopped: %d handled, %d failed, %d records published", *done, extra={"action": "stop"})

    def _nudge(self, base: str) -> None:
        self._inbox.put(Woken(base))

    def _wants(self, partition: TopicPartition, read_to: int) -> bool:
        """Return whether the consumer should read on. Called in its thread; reads two numbers."""
        owned = self._partitions.owned.get(partition)
        return owned is not None and owned.wants_records(read_to) and self._bound.wants(partition, read_to)
