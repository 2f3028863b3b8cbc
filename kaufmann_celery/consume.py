"""Step 1, consume: the one thread that owns the Kafka consumer.

It polls, whatever the rest of the ingester waits for, so that the group never loses this member because Redis,
Celery or the registry is away. What it reads it puts into one inbox, which the ingester's loop empties; where the
loop lags behind, it pauses partitions. Seeks and commits come as requests and are carried out between two polls.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import starmap
from queue import SimpleQueue
from typing import Any

from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka import errors as kafka_errors

from kaufmann_celery.config import Config
from kaufmann_celery.errors import ConsumerError
from kaufmann_celery.kafka_io.clients import connected
from kaufmann_celery.kafka_io.faults import passes
from kaufmann_celery.kafka_io.fetching import Fetching
from kaufmann_celery.kafka_io.options import consumer_options
from kaufmann_celery.kafka_io.reach import Reach, look_for
from kaufmann_celery.partitions.assignments import Assignments
from kaufmann_celery.partitions.commit_metadata import Committed
from kaufmann_celery.partitions.messages import Assigned, CommitDone, ConsumerDied, Fetched, Revoked, offsets_of
from kaufmann_celery.partitions.requests import Requests
from kaufmann_celery.partitions.starting_point import StartingPoint

log = logging.getLogger(__name__)

#: Seconds that one poll may wait for records, and those between polls while there is nothing to poll for.
_POLL_S = 0.1
#: The same while a partition is paused or something is asked: kafka-python cannot be woken from another thread.
_POLL_BUSY_S = 0.01
#: Seconds that a revoke waits for the settle round in progress, to have it finished; and at a stop, the loop's end.
_REVOKE_WAIT_S, _STOP_WAIT_S = 2.0, 0.1
#: Seconds between attempts to reach the group's coordinator.
_RETRY_S = 0.5


class Consumption:
    """The consumer's thread. Its methods may be called from any thread and do not block."""

    def __init__(
        self, config: Config, topics: Iterable[str], inbox: SimpleQueue[Any], *, settling: threading.Lock,
        on_revoke: Callable[[frozenset[TopicPartition]], Mapping[TopicPartition, Committed]],
        wants: Callable[[TopicPartition, int], bool], beat: Callable[[], None],
    ) -> None:  # fmt: skip
        self._config = config
        self._topics = list(topics)
        self._inbox = inbox
        self._settling = settling
        self._on_revoke = on_revoke
        self._wants = wants
        self._beat = beat
        self._requests = Requests()
        self._stop = threading.Event()
        self._moved = threading.Event()
        self._leave_s = 2.0
        self._assigned = Assignments()
        #: The latest assignment that the loop heard of.
        self._heard = 0
        self._generation = -1
        self._thread = threading.Thread(target=self._run, name="kaufmann-consume", daemon=True)
        self._consumer: Any = None
        self._reach = Reach(config.brokers)

    def start(self) -> None:
        """Connect and join the group, in the thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Leave the group and end the thread; wait for that at most *timeout_s*, and return whether it has ended."""
        self._leave_s = timeout_s
        self._stop.set()
        self._moved.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def heard(self, epoch: int) -> None:
        """Note that the loop knows of the assignments up to *epoch*; its requests are for these."""
        self._heard = epoch

    def look(self) -> None:
        """Have the thread look at once whether there is more to read."""
        self._moved.set()

    def begin(self, partition: TopicPartition, offset: int) -> None:
        """Have records of *partition* from *offset* on put into the inbox."""
        self._requests.add(partial(self._begin, partition, offset, self._heard))

    def commit(self, commits: Mapping[TopicPartition, Committed]) -> None:
        """Commit; a `CommitDone` comes back. Partitions revoked meanwhile are left out."""
        self._requests.add(partial(self._commit, commits, self._heard))

    def reopen(self, partition: TopicPartition, committed: Committed | None) -> None:
        """Commit, unless None, then announce *partition* as newly assigned: it is to be made anew from Kafka."""
        self._requests.add(partial(self._reopen, partition, committed, self._heard))

    # What follows runs in the consumer's thread, but for the listener.

    def _run(self) -> None:
        try:
            self._until_it_passes(self._connect)
            while not self._stop.is_set():
                self._beat()
                self._until_it_passes(self._turn)
        except kafka_errors.KafkaError as error:
            self._inbox.put(ConsumerDied(ConsumerError(f"Kafka refuses: {type(error).__name__}; {error}")))
        except BaseException as error:  # noqa: BLE001 - the thread's end: handed to the loop, which raises it
            self._inbox.put(ConsumerDied(error))
        finally:
            if self._consumer is not None:
                self._consumer.close(autocommit=False, timeout_ms=int(self._leave_s * 1000))

    def _until_it_passes(self, step: Callable[[], None]) -> None:
        """Call, again and again while Kafka is away; raise what will not pass by itself."""
        while not self._stop.is_set():
            try:
                step()
            except kafka_errors.KafkaError as error:
                self._reach.failed(error)
                self._beat()
                self._stop.wait(_RETRY_S)
            else:
                self._reach.passed(self._consumer)
                return

    def _connect(self) -> None:
        if self._consumer is None:
            self._consumer = connected(KafkaConsumer, consumer_options(self._config))
            self._fetching = Fetching(self._consumer)
        self._start = StartingPoint(self._consumer, self._config, self._inbox.put)
        look_for(self._consumer, self._topics)
        self._consumer.subscribe(self._topics, listener=_Listener(self))

    def _turn(self) -> None:
        try:
            self._step()
        except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError) as error:
            for partition in self._start.outside(error):
                self._take_anew(partition)

    def _step(self) -> None:
        self._requests.carry_out()
        self._rest()
        wanted = ((partition, self._wants(partition, read_to)) for partition, read_to in self._assigned.reading())
        is_paused, is_asked = self._fetching.choose(wanted), self._is_asked()
        # Not inside a poll, where nobody can wake this thread: what the loop wants again is then read at once.
        waits_for_loop = is_paused and not is_asked and not self._fetching.needs_poll()
        timeout_s = 0.0 if waits_for_loop else _POLL_BUSY_S if is_paused or is_asked else _POLL_S
        fetched = self._fetching.poll(timeout_s)
        if waits_for_loop and not fetched:
            self._wait_for_loop()
        for partition in filter(self._start.has_moved, tuple(self._assigned.read_to)):
            self._take_anew(partition)
        self._hand_over(fetched)
        if not fetched:
            self._hand_over_positions()
        self._announce()

    def _rest(self) -> None:
        """Wait while there is nothing to read and nothing else to poll for: a poll costs a hundred times a look."""
        until = time.monotonic() + _POLL_S
        while (reading := self._assigned.reading()) and time.monotonic() < until:
            if self._is_asked() or self._fetching.needs_poll() or any(starmap(self._wants, reading)):
                return
            self._wait_for_loop()

    def _wait_for_loop(self) -> None:
        self._moved.wait(_POLL_BUSY_S)
        self._moved.clear()

    def _is_asked(self) -> bool:
        return bool(self._requests or self._assigned.fresh or self._stop.is_set())

    def _hand_over(self, fetched: Mapping[TopicPartition, list[Any]]) -> None:
        """Put what was read into the inbox. Nothing here may fail: the consumer's position is past these records."""
        for partition, records in fetched.items():
            if partition in self._assigned.read_to and partition in self._assigned:
                self._assigned.read_to[partition] = records[-1].offset + 1
                self._inbox.put(Fetched(partition, records, records[-1].offset + 1))

    def _hand_over_positions(self) -> None:
        """Tell how far the position came over what are no records: markers of transactions."""
        for partition, read_to in self._assigned.reading():
            position = self._fetching.position_of(partition)
            if position is not None and position > read_to:
                self._assigned.read_to[partition] = position
                self._inbox.put(Fetched(partition, [], position))

    def _announce(self) -> None:
        """Tell the loop of newly assigned partitions, once their commits could be read."""
        metadata, epoch = self._consumer.group_metadata(), self._assigned.latest
        is_old = not self._assigned.fresh and metadata.generation_id == self._generation
        if is_old or metadata.generation_id < 0:  # Kafka forgot this member, which joins again
            return
        partitions = {partition: self._start.of(partition) for partition in tuple(self._assigned.fresh)}
        if epoch != self._assigned.latest or metadata.generation_id != self._consumer.group_metadata().generation_id:
            # Another rebalance came meanwhile: what was read may be of before it.
            return
        self._assigned.fresh, self._generation = self._assigned.fresh - partitions.keys(), metadata.generation_id
        cluster, owned = str(self._consumer._client.cluster.cluster_id), self._assigned.owned()
        self._inbox.put(Assigned(metadata.generation_id, metadata.member_id, cluster, epoch, partitions, owned))

    def _begin(self, partition: TopicPartition, offset: int, epoch: int) -> None:
        if self._assigned.is_meant(partition, epoch):
            first = self._consumer.beginning_offsets([partition])[partition]
            self._consumer.seek(partition, max(offset, first))
            self._consumer.resume(partition)
            self._assigned.read_to[partition] = max(offset, first)
            self._inbox.put(Fetched(partition, [], max(offset, first)))

    def _commit(self, commits: Mapping[TopicPartition, Committed], epoch: int) -> None:
        mine = {partition: commit for partition, commit in commits.items() if self._assigned.is_meant(partition, epoch)}
        if not mine:
            self._inbox.put(CommitDone(mine, None))
            return
        self._consumer.commit_async(
            offsets_of(mine),
            callback=lambda _, answer: self._inbox.put(
                CommitDone(mine, answer if isinstance(answer, BaseException) else None)
            ),
        )

    def _reopen(self, partition: TopicPartition, committed: Committed | None, epoch: int) -> None:
        if not self._assigned.is_meant(partition, epoch):
            return
        self._assigned.read_to.pop(partition, None)
        self._consumer.pause(partition)
        if committed is None:
            self._take_anew(partition)
            return

        def answered(_: Any, answer: Any) -> None:
            if isinstance(answer, kafka_errors.KafkaError) and passes(answer):
                # Nobody else knows what is finished: what Kafka says holds once it has said something.
                self._requests.add_again(partial(self._reopen, partition, committed, epoch))
            else:
                self._take_anew(partition)

        self._consumer.commit_async(offsets_of({partition: committed}), callback=answered)

    def _take_anew(self, partition: TopicPartition) -> None:
        """Have the loop forget *partition*, and take it over as if it had just been assigned."""
        if partition in self._assigned:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
            self._inbox.put(Revoked(frozenset({partition})))
            self._assigned.note(partition)


class _Listener(AsyncConsumerRebalanceListener):
    """Runs on kafka-python's IO thread while the consumer's thread is inside `poll()`."""

    def __init__(self, consumption: Consumption) -> None:
        self._consumption = consumption

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Pause them until the ledger is ours; the position set here only keeps the reset policy away."""
        own, consumer = self._consumption, self._consumption._consumer
        for partition in assigned:
            consumer.seek(partition, 0)
            consumer.pause(partition)
            own._assigned.note(partition)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Commit what is finished and let go; never wait for handlers, the next owner adopts them."""
        partitions, own = frozenset(revoked), self._consumption
        settled = own._settling.acquire(timeout=_STOP_WAIT_S if own._stop.is_set() else _REVOKE_WAIT_S)
        try:
            # Where the loop did not come to rest its state cannot be read; the ledger's marks say what is finished.
            commits = own._on_revoke(partitions) if settled else {}
            self._let_go(partitions)
        finally:
            if settled:
                own._settling.release()
        if commits:
            try:
                await own._consumer.commit_async(offsets_of(commits))
            except kafka_errors.KafkaError as error:
                # Nothing is lost: the finished marks in the ledger stay until a commit covers them.
                log.warning("commit at revoke failed: %s", type(error).__name__, extra={"action": "revoke"})

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Another member may own them already: no commit."""
        self._let_go(frozenset(lost))

    def _let_go(self, partitions: frozenset[TopicPartition]) -> None:
        own = self._consumption
        own._assigned.let_go(partitions)
        own._start.forget(*partitions)
        own._inbox.put(Revoked(partitions))
