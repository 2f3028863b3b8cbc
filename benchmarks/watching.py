"""How a contestant is timed from outside: from the first event handled to the last one.

That it commits them is checked, and not timed, as some commit every few seconds, or look up from an empty topic once in
a second only. (This project times itself, and longer: to the last offset committed.)
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks.handling import handled
from benchmarks.scene import RunFailed, Scene
from benchmarks.traffic import QUIET

Processes = Sequence[subprocess.Popen[bytes]]
_LOOK_S = 0.01


def watched(
    scene: Scene, written: Sequence[int], processes: Processes, is_out: Callable[[], bool] = lambda: True
) -> float:
    """Return the seconds that *processes*, which are at work, take to handle all and for what *is_out* looks at.

    Then they are told to stop, upon which they commit; *written* is how many events each partition has.
    """
    began = time_when(scene, lambda: handled(scene.counts) > 0, processes)
    ended = time_when(scene, lambda: handled(scene.counts) >= scene.events and is_out(), processes)
    for process in processes:
        process.terminate()
    group = Group(scene)
    time_when(scene, lambda: group.has_committed(written))
    if handled(scene.counts) != scene.events:
        raise RunFailed(f"{scene.events:,} events were handled {handled(scene.counts):,} times")
    return ended - began


def time_when(scene: Scene, is_so: Callable[[], bool], processes: Processes = ()) -> float:
    """Wait until *is_so*, and return the time; raises `RunFailed` if that takes too long or a process crashes."""
    deadline = time.monotonic() + scene.patience_s
    while not is_so():
        if time.monotonic() > deadline:
            raise RunFailed(f"{handled(scene.counts):,} of {scene.events:,} events handled in {scene.patience_s:.0f} s")
        if any(process.poll() for process in processes):
            raise RunFailed("a process crashed")
        time.sleep(_LOOK_S)
    return time.perf_counter()


class Group:
    """The contestant's consumer group, which is named like its topic."""

    def __init__(self, scene: Scene) -> None:
        self._topic = scene.topic
        self._admin = AdminClient({"bootstrap.servers": scene.stack["KAUFMANN_BROKERS"], **QUIET})

    def has_committed(self, written: Sequence[int]) -> bool:
        """Return whether each partition's *written* events are committed; a transaction's mark may be, too."""
        parts = [TopicPartition(self._topic, partition) for partition in range(len(written))]
        asked = [ConsumerGroupTopicPartitions(self._topic, parts)]
        answer: Any = self._admin.list_consumer_group_offsets(asked)[self._topic].result()
        return all(part.offset >= written[part.partition] for part in answer.topic_partitions)

    def is_shared_out(self, members: int, partitions: int) -> bool:
        """Return whether so many members have all of the topic's partitions between them."""
        try:
            group: Any = self._admin.describe_consumer_groups([self._topic])[self._topic].result()
        except KafkaException:
            return False
        shares = [len(one.assignment.topic_partitions) for one in group.members if one.assignment]
        return group.state == ConsumerGroupState.STABLE and len(shares) == members and sum(shares) == partitions
