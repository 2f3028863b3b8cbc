"""How many events share one Celery task. Pure: times are passed in.

Celery moves about 1,000 messages a second per worker, whatever they carry, so as many events of one name share a
task as fill about 20 ms of its handler's time: never more than leaves every worker busy, one where it is slow.
"""

from __future__ import annotations

from kaufmann_celery.handlers import Handler

#: Seconds of handler time that one task should hold.
_TASK_S = 0.02
#: Most events in one task, however fast the handler: one lost task costs no more than these a second run.
_MOST_IN_TASK = 200
#: Into how many tasks the outstanding events are split at least, so that no worker process starves.
_LEAST_TASKS = 8
#: How much the newest measurement counts in a handler's mean time.
_WEIGHT = 0.3
#: Tasks of one event by which a handler is measured, and seconds after which it is known to be slow without.
_PROBES = 8
_PATIENCE_S = 0.25


class Grouping:
    """What is known of each handler's speed."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}
        self._probes: dict[str, int] = {}
        self._probed_at: dict[str, float] = {}
        #: Events in the latest task: fewer free slots than that are not worth taking new events for.
        self.quantum = 1

    def learn(self, pattern: str, events: int, seconds: float) -> None:
        """Note that *events* events took *seconds* of handling."""
        mean = seconds / events
        known = self._mean.get(pattern)
        self._mean[pattern] = mean if known is None else known + _WEIGHT * (mean - known)

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
        fitting = int(min(most, _TASK_S / mean)) if mean > 0 else most
        self.quantum = max(1, min(fitting, most, outstanding // _LEAST_TASKS))
        return self.quantum

    def _probe(self, pattern: str, now: float) -> int:
        probes = self._probes.get(pattern, 0)
        since = self._probed_at.setdefault(pattern, now)
        if probes >= _PROBES and now - since < _PATIENCE_S:
            return 0
        self._probes[pattern] = probes + 1
        return 1
