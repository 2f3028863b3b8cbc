"""Kaufmann: the one object a user makes. It registers handlers, and a Celery task for each name."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Celery, signals

from kaufmann_celery.config import Config, load_config
from kaufmann_celery.errors import ConfigError
from kaufmann_celery.event import ErrorEvent, Event, Output, Position
from kaufmann_celery.handlers import Handler, Handlers, Options, check_names
from kaufmann_celery.middleware import Middleware
from kaufmann_celery.plugged import IMPORT_FAULTS, told
from kaufmann_celery.tasks import celery_app
from kaufmann_celery.tasks.retries import RetryPolicy

if TYPE_CHECKING:
    from kaufmann_celery.ingester import Ingester
    from kaufmann_celery.outputs.publisher import Publisher
    from kaufmann_celery.registry.local_schemas import LocalSchemas
    from kaufmann_celery.testing import MockBus

Function = TypeVar("Function", bound=Callable[..., Any])


class Kaufmann:
    """A service: its handlers, its settings, and the Celery app that runs it.

    *service* names it: the consumer group, the topic and the queue `kaufmann.<service>` follow from it. *celery* is
    an existing app to run on; None makes one. Further keywords are settings (`docs/settings.md`). Nothing connects
    and nothing is checked until a process starts.
    """

    def __init__(self, service: str, *, celery: Celery | None = None, **settings: Any) -> None:
        self.service = service
        #: Hooks around the steps, read when a process starts; the first is outermost.
        self.middleware: list[Middleware] = []
        self.settings: dict[str, Any] = settings
        self.handlers = Handlers()
        self._error_handlers = Handlers()
        self._lock = threading.RLock()
        self._loaded = False
        self._import_fault: str | None = None
        self._queues: dict[str, str] = {}
        self.celery: Celery = celery_app.make(self) if celery is None else celery
        celery_app.attach(self, self.celery)
        signals.import_modules.connect(self._import_modules, sender=self.celery, weak=False)
        signals.celeryd_init.connect(self._worker_starts, weak=False)

    def on(
        self,
        *names: str,
        max_retries: int | None = None,
        retry_backoff: bool | float = True,
        retry_backoff_max: float = 600.0,
        retry_jitter: bool = True,
        autoretry_for: Iterable[type[BaseException]] = (),
        dont_autoretry_for: Iterable[type[BaseException]] = (),
        soft_time_limit: float | None = None,
        time_limit: float | None = None,
        rate_limit: str | None = None,
        queue: str | None = None,
        ordering_key: str | Callable[[Event], str | None] | None = None,
        batch: int | None = None,
    ) -> Callable[[Function], Function]:
        """Handle events of *names*: exact, or globs for what no exact name catches. Times are in seconds.

        The options are Celery's. `max_retries` alone retries any `Exception`, exponentially from 1 s; None means no
        retries. A hard `time_limit` ends the process; the event is then a failure like another. `batch`: most events
        in one task, None as many as pay.
        """
        check_names(names, "on")
        retry = RetryPolicy(
            max_retries=max_retries,
            retry_backoff=retry_backoff,
            retry_backoff_max=retry_backoff_max,
            retry_jitter=retry_jitter,
            autoretry_for=tuple(autoretry_for),
            dont_autoretry_for=tuple(dont_autoretry_for),
        )
        options = Options(
            retry=retry,
            soft_time_limit=soft_time_limit,
            time_limit=time_limit,
            rate_limit=rate_limit,
            queue=queue,
            ordering_key=ordering_key,
            batch=batch,
        )

        def register(function: Function) -> Function:
            for name in names:
                self._register(Handler(name, function, options))
            return function

        return register

    def on_error(self, *names: str) -> Callable[[Function], Function]:
        """Be told, by an `ErrorEvent`, of events of *names* (or globs) that failed for good or could not be decoded."""
        check_names(names, "on_error")

        def register(function: Function) -> Function:
            for name in names:
                self._error_handlers.add(Handler(name, function))
            return function

        return register

    def publish(self, name: str, payload: Any, **options: Any) -> Position | None:
        """Publish an event; *options* are those of `Output`.

        Inside a handler it is sent if and only if the handler succeeds, and None is returned. Outside it is sent at
        once: blocks until Kafka acknowledges, and returns the position, or raises `PublishError`.
        Any thread of any process may call it, also after a fork.
        """
        from kaufmann_celery.handle import emitting

        output = Output(name, payload, **options)
        emitted = emitting.get()
        if emitted is not None:
            emitted.append(output)
            return None
        return self.publisher.publish(output)

    def ingester(self, *, topics: Iterable[str] | None = None, until_end: bool = False) -> Ingester:
        """Return an ingester; its `run()` blocks. *until_end*: stop when all that is there now is committed.

        Raises `ConfigError` where settings or handlers are wrong.
        """
        from kaufmann_celery.ingester import Ingester

        self.load()
        return Ingester(self, topics=topics, until_end=until_end)

    @cached_property
    def config(self) -> Config:
        """The settings, read when first asked for. Raises `ConfigError` with every fault."""
        conf = self.celery.conf
        conf.get("broker_url")
        if "config" in self.__dict__:
            # Celery's configuration had to be loaded, and an app of our own asked for this meanwhile.
            return self.__dict__["config"]  # type: ignore[no-any-return] # put there by this property
        return load_config(
            self.service,
            keywords=self.settings,
            conf=conf,
            environ=os.environ,
            app_broker=celery_app.own_broker(self.celery),
        )

    @cached_property
    def local_schemas(self) -> LocalSchemas:
        """The schemas under `schema_path`."""
        from kaufmann_celery.registry.local_schemas import LocalSchemas

        return LocalSchemas(self.config.schema_path)

    @property
    def transport_options(self) -> Mapping[str, Any]:
        """Celery's options for its broker, which hold for the ledger where both are one Redis."""
        options: Mapping[str, Any] = self.celery.conf.broker_transport_options or {}
        return options

    def load(self) -> None:
        """Import what a worker imports, and check settings and handlers. Raises `ConfigError`."""
        try:
            self.celery.loader.import_default_modules()
            self.celery.finalize(auto=True)
            self._import_modules()
        except ConfigError:
            # Importing stops at the first fault; all that are known are reported.
            if not self.faults():
                raise
        if faults := self.faults():
            raise ConfigError("\n".join(faults))

    def faults(self) -> list[str]:
        """Return every fault of the settings, of what they name, and of the handlers registered so far."""
        from kaufmann_celery.checks import checks_of

        faults = []
        checks: list[Callable[[], object]] = [self.handlers.check, self._error_handlers.check]
        try:
            checks = [*checks_of(self), *checks]
        except ConfigError as error:
            faults.append(str(error))
        if self._import_fault:
            faults.append(self._import_fault)
        for check in checks:
            try:
                check()
            except ConfigError as error:
                faults.append(str(error))
        return faults

    def queue_of(self, handler: Handler) -> str:
        """Return the queue of a handler's task: its own, else as the app routes it, else the service's."""
        if handler.pattern not in self._queues:
            self._queues[handler.pattern] = self._route(handler)
        return self._queues[handler.pattern]

    def _route(self, handler: Handler) -> str:
        if handler.options.queue is not None:
            return handler.options.queue
        routed = self.celery.amqp.router.lookup_route(handler.task_name) or {}
        queue = routed.get("queue") or self.default_queue
        return str(getattr(queue, "name", queue))

    @property
    def default_queue(self) -> str:
        """The queue of all handlers that name none."""
        return f"{self.config.redis_prefix}.{self.service}"

    def on_error_for(self, name: str) -> Callable[[ErrorEvent], Any] | None:
        """Return the function that is told of an event of *name* that failed for good; None without."""
        handler = self._error_handlers.match(name)
        return handler.function if handler else None

    def _register(self, handler: Handler) -> None:
        from kaufmann_celery.tasks.event_task import register_task

        if self.handlers.add(handler):
            register_task(self, handler)

    def _import_modules(self, **_: Any) -> None:
        """Register `event_handler_mod`, KaufmannEx's way. Once."""
        with self._lock:
            if self._loaded:
                return
            self._loaded = True
        try:
            name = self.config.event_handler_mod
        except ConfigError:
            # Reported by `load`, with the faults of the modules that are imported after this.
            return
        if name is None:
            return
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            module = import_module(name)
        except IMPORT_FAULTS as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            is_it = missing is not None and f"{name}.".startswith(f"{missing}.")
            why = f"there is no module {name}" if is_it else f"cannot load {name}: {told(error)}"
            self._import_fault = f"event_handler_mod: {why}"
            return
        if not callable(getattr(module, "given_event", None)):
            self._import_fault = f"event_handler_mod: {name} has no given_event(event)"
            return
        events = getattr(module, "EVENTS", "*")
        for event in (events,) if isinstance(events, str) else events:
            self._register(Handler(event, module.given_event))
            self._error_handlers.add(Handler(event, module.given_event))

    def _worker_starts(self, instance: Any, **_: Any) -> None:
        """Check everything before a worker takes its first task; end it with exit code 2 where something is wrong."""
        if instance is None or instance.app is not self.celery:
            return
        from kaufmann_celery.tasks.worker_consumer import use_steady_consumer

        # What runs a task, before the pool forks: its children share it, and the first event does not wait for it.
        import_module("kaufmann_celery.handle")
        try:
            self.load()
        except ConfigError as error:
            sys.stderr.write(f"kaufmann: {error}\n")
            raise SystemExit(2) from error
        celery_app.accept_json(self.celery)
        celery_app.consume_queues(self)
        use_steady_consumer(self.celery)
        # All this lives as long as the worker: no child looks through it whenever it collects garbage.
        gc.freeze()

    @cached_property
    def publisher(self) -> Publisher | MockBus:
        """What publishes outside handlers; a test's bus puts itself in its place."""
        from kaufmann_celery.outputs.publisher import Publisher

        return Publisher(self)
