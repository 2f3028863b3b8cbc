"""Hooks around the steps decode, handle, publish and commit; and a log of events built on them."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from kaufmann_celery.errors import ConfigError, EventError
from kaufmann_celery.outage import Outage
from kaufmann_celery.plugged import called

if TYPE_CHECKING:
    from kaufmann_celery.event import Event, Output
    from kaufmann_celery.outputs.outcome import OutRecord
    from kaufmann_celery.outputs.producing import Answer
    from kaufmann_celery.tasks.envelope import Decoded

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_STEPS = ("decode", "handle", "publish", "commit")


class Middleware:
    """Does nothing: override the hooks that you need.

    A hook is a generator that yields once. What stands before the `yield` runs before the step, what stands after it
    runs after; the `yield` gives the step's result, and raises what the step raised. Of `kaufmann.middleware` the
    first is outermost. A hook of the ingester only looks on: what it raises is logged, and the step goes on.
    """

    def decode(self, record: Any) -> Generator[None, Decoded | None, None]:  # noqa: ARG002 - for those who override it
        """Around a record's decoding, in the ingester's loop; again if the registry was away.

        *record* is kafka-python's. The result has `name`, `id`, `meta`, `key`, `error` and `payload()`; it is None
        where no handler wants the event.
        """
        yield

    def handle(self, event: Event) -> Generator[None, list[Output], None]:  # noqa: ARG002 - for those who override it
        """Around one run of a handler, in the worker, in the handler's thread.

        The result is the list of what the handler emitted, which may be changed. What this raises is the handler's
        failure; where it catches what the handler raised, the event is handled and emits nothing.
        """
        yield

    def publish(self, records: Sequence[OutRecord]) -> Generator[None, Sequence[Answer], None]:  # noqa: ARG002 - for those who override it
        """Around the publishing of a round's records, in the ingester's loop, or of `kaufmann.publish`, in its thread.

        The result has for each record its position, None where it is not known, or a `PublishError`. A round without
        a transaction lasts until Kafka has answered for all of it, while others may begin.
        """
        yield

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> Generator[None, None, None]:  # noqa: ARG002 - for those who override it
        """Around a commit, in the ingester's loop: from its sending to Kafka's answer. Not around those at a revoke.

        *offsets* are by topic and partition.
        """
        yield


class LogEvents(Middleware):
    """One line for each event handled, each round published and each commit. *level* is logging's."""

    def __init__(self, level: int = logging.INFO) -> None:
        self._level = level

    def handle(self, event: Event) -> Generator[None, list[Output], None]:
        """Say how long the handler took, and what it emitted or raised."""
        began, became = time.monotonic(), ""
        try:
            outputs = yield
            became = f"emitted {', '.join(output.name for output in outputs) or 'nothing'}"
        except BaseException as error:
            became = f"raised {type(error).__name__}"
            raise
        finally:
            self._say(
                "handle", "%s %s at %s %s in %.3f s",
                event.name, event.id, event.position, became, time.monotonic() - began,
            )  # fmt: skip

    def publish(self, records: Sequence[OutRecord]) -> Generator[None, Sequence[Answer], None]:
        """Say how many records were published."""
        answers = yield
        refused = sum(isinstance(answer, Exception) for answer in answers)
        self._say("publish", "%d records published, %d refused", len(records) - refused, refused)

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> Generator[None, None, None]:
        """Say what was committed."""
        yield
        shown = ", ".join(f"{topic}:{partition} at {offset}" for (topic, partition), offset in offsets.items())
        self._say("commit", "committed %s", shown)

    def _say(self, action: str, text: str, *facts: object) -> None:
        log.log(self._level, text, *facts, extra={"action": action})


class Hooks:
    """The hooks of one step, the outermost first. Costs nothing where there are none."""

    def __init__(self, middleware: Sequence[Middleware], step: str) -> None:
        self._what = f"a hook of {step}"
        self._news = Outage()
        self._hooks: list[Callable[[Any], Any]] = [getattr(one, step) for one in middleware if _overrides(one, step)]

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def inside(self, argument: Any, call: Callable[[], list[Result]]) -> list[Result]:
        """Return what *call* does inside the hooks; nothing where one of them catches what it raised."""
        for hook in reversed(self._hooks):
            call = partial(_inside, hook, argument, call)
        return call()

    def around(self, argument: Any, call: Callable[[], Result]) -> Result:
        """Return what *call* does, while the hooks look on."""
        if not self._hooks:
            return call()
        begun = self.begin(argument)
        try:
            result = call()
        except BaseException as error:
            begun.end(error=error)
            raise
        begun.end(result)
        return result

    def begin(self, argument: Any) -> Begun:
        """Have the hooks look on from now until `end`."""
        begun = Begun(self._what, self._news)
        for hook in self._hooks:
            begun.add(hook, argument)
        return begun


class Begun:
    """The hooks that have run up to their `yield`. What they raise is logged, not each time, and goes no further."""

    def __init__(self, what: str, news: Outage) -> None:
        self._what = what
        self._news = news
        self._begun: list[Generator[None, Any, None]] = []

    def add(self, hook: Callable[[Any], Any], argument: Any) -> None:
        """Run one up to its `yield`."""
        begun = self._guarded(_begin, hook, argument)
        if begun is not None:
            self._begun.append(begun)

    def end(self, result: Any = None, error: BaseException | None = None) -> None:
        """Run them to their end, the innermost first."""
        while self._begun:
            self._guarded(_end, self._begun.pop(), result, error)

    def _guarded(self, step: Callable[..., Any], *args: Any) -> Any:
        try:
            return called(self._what, step, *args)
        except EventError as error:
            if self._news.is_news(str(error), time.monotonic()):
                log.exception(
                    "%s failed and is passed over", self._what, exc_info=error.__cause__,
                    extra={"action": "hook_failed"},
                )  # fmt: skip
            return None


def check_middleware(middleware: Sequence[Any]) -> None:
    """Raise `ConfigError` with what is no middleware, one a line."""
    faults = []
    for one in middleware:
        if not isinstance(one, Middleware):
            said = f"the class {one.__name__}, give an object" if inspect.isclass(one) else type(one).__name__
            faults.append(f"middleware: must be objects of Middleware, got {said}")
            continue
        without = [step for step in _STEPS if not inspect.isgeneratorfunction(getattr(one, step))]
        faults += [f"middleware: {type(one).__name__}.{step} has no yield" for step in without]
    if faults:
        raise ConfigError("\n".join(faults))


def _overrides(one: Middleware, step: str) -> bool:
    return getattr(type(one), step) is not getattr(Middleware, step)


def _inside(hook: Callable[[Any], Any], argument: Any, call: Callable[[], list[Result]]) -> list[Result]:
    begun = _begin(hook, argument)
    try:
        result = call()
    except BaseException as error:
        if _end(begun, None, error):
            raise
        return []
    _end(begun, result, None)
    return result


def _begin(hook: Callable[[Any], Any], argument: Any) -> Generator[None, Any, None]:
    begun: Generator[None, Any, None] = hook(argument)
    for _ in begun:
        return begun
    raise RuntimeError("it ended before its yield")


def _end(begun: Generator[None, Any, None], result: Any, error: BaseException | None) -> bool:
    """Run a hook to its end; return whether it let *error* pass."""
    try:
        if error is None:
            begun.send(result)
        else:
            begun.throw(error)
    except StopIteration:
        return False
    except BaseException as raised:
        if raised is error:
            return True
        raise
    raise RuntimeError("it has more than one yield")
