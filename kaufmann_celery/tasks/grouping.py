"""How many events share one Celery task. Pure: times are passed in.

Celery moves about 1,000 messages a second per worker, whatever they carry, so as many events of one name share a
task as fill about 20 ms of its handler's time, or 60 where so much waits that nobody waits longer for that; no more
than leaves every worker process busy, unless they take so little time together that spreading them costs more than it
saves. One where the handler is slow.
"""

from __future__ import annotations

from collections import deque
from statistics import fmean, median

from kaufmann_celery.handlers import Handler

#: Seconds of handler time that one task should hold, about.
_TASK_S = 0.02
#: The same where each runner has so many tasks of that size before it: some milliseconds go by from one to the next.
_LONG_TASK_S, _MANY_EACH = 0.06, 8
#: Seconds of handling before each runner, so that it misses nothing where the next task is a moment late.
_PLENTY_S = 0.5
#: Seconds of handler time that are not worth another message: about what Celery takes for one.
_MESSAGE_S = 0.001
#: Most events in one task, however fast the handler: one lost task costs no more than these a second run.
_MOST_IN_TASK = 300
#: Tasks for each runner: one to run, and one that waits for it. And in all, so that while one is run another is settled
#: and the next prepared.
_TASKS_EACH = 2
_LEAST_TASKS = 3
#: Runners before any is known, and seconds after which one that reported nothing while others did is gone.
_RUNNERS = 4
_GONE_S = 30.0
#: A handler's time is the mean of its latest reports, once there are enough of them. One that took many times what is
#: usual (the first failure in a process, which fetches a schema; a pause of the machine) counts as so many times that:
#: a thousand tasks of one event would follow from it.
_LATEST, _ENOUGH, _UNUSUAL = 9, 4, 4.0
#: Tasks of one event that are on their way while a handler is measured, and seconds after which as many more may be:
#: a slow handler gets all workers there are, one that only starts slowly does not get a thousand tasks of one event.
_PROBES = 8
_PATIENCE_S = 0.25
_MOST_DOUBLINGS = 20


class Grouping:
    """What is known of each handler's speed, and of those that run handlers: workers' processes, or their threads."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._latest: dict[str, deque[float]] = {}
        #: Of each handler that is being measured: events on their way, and since when none was reported.
        self._probes: dict[str, int] = {}
        self._probed_at: dict[str, float] = {}
        #: When each runner last reported, and the handlers that it has run before.
        self._seen: dict[str, float] = {}
        self._warm: dict[str, set[str]] = {}
        #: Events in the latest task: fewer free slots than that are not worth taking new events for.
        self.quantum = 1
        #: Whether the latest handler takes so little that even a long task's time is enough for as many events as a
        #: task may have: what an event costs besides its handler is most of it.
        self.is_quick = False

    def learn(self, pattern: str, events: int, seconds: float, *, runner: str, now: float) -> None:
        """Note that *runner* spent *seconds* on *events* events."""
        self._seen[runner] = now
        self._probes[pattern] = max(0, self._probes.get(pattern, 0) - events)
        self._probed_at.pop(pattern, None)
        warm = self._warm.setdefault(runner, set())
        if pattern not in warm:
            # The first run in a process imports, connects and fetches schemas: it says nothing of the next.
            warm.add(pattern)
            return
        latest = self._latest.setdefault(pattern, deque(maxlen=_LATEST))
        latest.append(seconds / events)
        if len(latest) >= _ENOUGH:
            most = _UNUSUAL * median(latest)
            self._mean[pattern] = fmean(min(one, most) for one in latest)

    @property
    def enough_tasks(self) -> int:
        """How many tasks keep every runner busy."""
        return _TASKS_EACH * self._runners()

    def size(self, handler: Handler, outstanding: int, now: float) -> int:
        """Return how many events to put into the next task, 0 to wait a moment for the first measurement.

        *outstanding* are dispatched or about to be, over all names.
        """
        most = min(handler.options.most_in_task or _MOST_IN_TASK, _MOST_IN_TASK)
        if most == 1:
            return 1
        mean = self._mean.get(handler.pattern)
        if mean is None:
            return self._probe(handler.pattern, now)
        runners, long = self._runners(), _events_in(_LONG_TASK_S, mean, most)
        self.is_quick = long == _MOST_IN_TASK
        share = outstanding // (_TASKS_EACH * runners)
        share = max(share, min(_events_in(_MESSAGE_S, mean, most), outstanding // _LEAST_TASKS))
        size = min(_events_in(_TASK_S, mean, most), share)
        self.quantum = max(1, size, min(long, outstanding // (_MANY_EACH * runners)))
        return self.quantum

    def is_plenty(self, outstanding: int) -> bool:
        """Return whether so many events outstanding keep the runners busy for a good while.

        As if all were of the quickest handler that was ever measured.
        """
        return outstanding * min(self._mean.values(), default=0.0) >= _PLENTY_S * self._runners()

    def _runners(self) -> int:
        if not self._seen:
            return _RUNNERS
        newest = max(self._seen.values())
        self._seen = {runner: at for runner, at in self._seen.items() if at > newest - _GONE_S}
        self._warm = {runner: self._warm[runner] for runner in self._seen}
        return len(self._seen)

    def _probe(self, pattern: str, now: float) -> int:
        probes = self._probes.get(pattern, 0)
        waited = now - self._probed_at.setdefault(pattern, now)
        if probes >= _PROBES * 2 ** int(min(waited / _PATIENCE_S, _MOST_DOUBLINGS)):
            return 0
        self._probes[pattern] = probes + 1
        return 1


def _events_in(seconds: float, mean: float, most: int) -> int:
    return round(min(most, seconds / mean)) if mean > 0 else most
