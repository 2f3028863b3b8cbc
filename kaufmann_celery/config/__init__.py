"""The settings of a service: one frozen `Config`, checked at start, with all faults in one message.

To add a setting, add a field to `Config`: its comment becomes its documentation, its rule reads its values.
"""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from kaufmann_celery.config import sources as sources
from kaufmann_celery.config.addresses import broker, http_url, is_redis, listen_address, redis_url
from kaufmann_celery.config.fields import Derived, Fault, Rule, rules_of, setting
from kaufmann_celery.config.masking import mask, show
from kaufmann_celery.config.values import (
    choice,
    dotted_path,
    group,
    key_prefix,
    optional,
    options,
    ordering_key,
    paths,
    seconds,
    several,
    text,
    topic,
    topic_glob,
    whole_number,
)
from kaufmann_celery.errors import ConfigError
from kaufmann_celery.event import Event

__all__ = ["Config", "Setting", "load_config", "mask", "unknown_variables"]

logger = logging.getLogger(__name__)

_SERVICE_NAME = Derived("the service's name", lambda values: values["service"])
_DEFAULT_TOPIC = Derived("`default_topic`", lambda values: values["default_topic"])
_SUBSCRIBED = Derived("`default_topic`", lambda values: (values["default_topic"],))
_PROCESS = Derived("host name and process id", lambda _: f"{socket.gethostname()}-{os.getpid()}")
_LOCAL_REDIS = "redis://localhost:6379/0"
_REDIS = Derived(f"Celery's broker where that is Redis, else `{_LOCAL_REDIS}`", lambda _: _LOCAL_REDIS)
_SHOWN_LENGTH = 100
_NUMBER = re.compile(r"-?[0-9.]+")


class Setting(NamedTuple):
    """One setting as `kaufmann config` shows it."""

    name: str
    #: Secrets are masked.
    value: str
    #: As `Config.origin` says it.
    origin: str


@dataclass(frozen=True, kw_only=True, repr=False)
class Config:
    """Every setting of one service. Get one from `load_config`, which checks it; durations are in seconds."""

    #: The name given to `Kaufmann(...)`. Letters, digits, dots, underscores and hyphens.
    service: str
    #: Kafka's bootstrap servers, `host:port`; the port is 9092 unless given. One alone is a single point of
    #: failure at start.
    brokers: tuple[str, ...] = setting(several(broker), ("localhost:9092",))
    #: Any further option of kafka-python (security, codecs, `request_timeout_ms`), as a dict or a JSON
    #: object.
    kafka_options: Mapping[str, Any] = setting(options, MappingProxyType({}), secret=True)
    #: Redis, for the ledger, and as Celery's broker unless the app has one. `redis://`, `rediss://`,
    #: `redis+socket://`, `sentinel://`, or `redis+cluster://host:port,host:port` where the app has a broker.
    redis_url: str = setting(redis_url, _REDIS, secret=True)
    #: What every key in Redis begins with. Two environments that share a Redis and a prefix take each
    #: other's events.
    redis_prefix: str = setting(key_prefix, "kaufmann")
    #: The schema registry; credentials and a path may be in it. Several, comma-separated, are tried in turn.
    schema_registry_url: tuple[str, ...] = setting(
        several(http_url), ("http://localhost:8081",), alias="schema_registry_uri", secret=True
    )
    #: Kafka's consumer group. Another name starts from the beginning of the topics, as `auto_offset_reset`
    #: says.
    consumer_group: str = setting(group, _SERVICE_NAME)
    #: The topic for events in and out where no other setting says more.
    default_topic: str = setting(topic, _SERVICE_NAME)
    #: The topics to consume, comma-separated.
    subscription_topics: tuple[str, ...] = setting(several(topic), _SUBSCRIBED)
    #: The topic that outputs go to unless they or `topic_strategy` say otherwise.
    default_publish_topic: str = setting(topic, _DEFAULT_TOPIC)
    #: The topic for error events; without it they go where an output of the failed event would.
    error_topic: str | None = setting(optional(topic))
    #: The topic for records that cannot be decoded, byte for byte. Must not be one that the service
    #: consumes.
    dead_letter_topic: str | None = setting(optional(topic))
    #: Globs of the topics to which a consumed event may ask for replies; empty allows none. Too wide:
    #: whoever can write events chooses where this service writes.
    callback_topics: tuple[str, ...] = setting(several(topic_glob, empty=True), ("*",))
    #: Directories with .avsc and .json files, comma-separated or as in PATH.
    schema_path: tuple[Path, ...] = setting(paths, (Path("schemas"),))
    #: Goes into the meta of outputs as `emitter_service`.
    service_name: str = setting(text, _SERVICE_NAME)
    #: Goes into the meta of outputs as `emitter_service_id`.
    service_id: str = setting(text, _PROCESS)
    #: A module with `given_event(event)`, `service.handlers`, for handlers in KaufmannEx's way.
    event_handler_mod: str | None = setting(optional(dotted_path))
    #: Dotted path of what publishes instead of Kafka: a class or function that makes, of the `Config`, something
    #: with `publish(records)`, or a module with it. `kaufmann_celery.PublishNothing` drops all. See extending.md.
    #: Not together with `delivery="exactly_once"`.
    producer_mod: str | None = setting(optional(dotted_path))
    #: Dotted path of a function `event_metadata(event_name, context)`, or of a module that has it, which
    #: returns a dict that is merged over the meta of an output. `context` is the consumed event's meta. See
    #: extending.md.
    metadata_mod: str | None = setting(optional(dotted_path))
    #: Outstanding events per ingester. Too small: workers idle. Too big: more events run again after Redis
    #: lost its data, and memory grows. 1: strictly one after the other.
    max_demand: int = setting(whole_number(at_least=1), 50)
    #: How far, per partition, taken positions may run ahead of the lowest unfinished one; at least
    #: `max_demand`. Too small: one slow event holds up its partition. Too big: more waits for retries, and a
    #: commit says more.
    max_window: int = setting(whole_number(at_least=1), 10_000)
    #: Finished events after which offsets are committed, five times a second at most. Too small: Kafka is
    #: busy with commits. Too big: only `commit_interval` commits, and more is looked up again after a crash.
    commit_threshold: int = setting(whole_number(at_least=1), 100)
    #: Seconds after which offsets are committed, if any moved. Too small and too big: as `commit_threshold`.
    commit_interval: float = setting(seconds, 5.0)
    #: `unordered`, `key` (events with the same `ordering_key` run one after the other) or `partition` (all
    #: of a partition do). More order, less at a time.
    ordering: str = setting(choice("unordered", "key", "partition"), "unordered")
    #: What `ordering="key"` compares: `key`, a path such as `payload.order_id`, or a function by its dotted
    #: path (by keyword also itself). Few different keys: few events at a time.
    ordering_key: str | Callable[[Event], str | None] = setting(  # noqa: RUF009 - makes a field
        ordering_key, "key"
    )
    #: `at_least_once` or `exactly_once` (outputs and offsets in one transaction, which takes longer; readers
    #: of the outputs must set `isolation_level` to `read_committed`).
    delivery: str = setting(choice("at_least_once", "exactly_once"), "at_least_once")
    #: Runs of one event that may end with its worker's death. Too small: a machine's failure makes an error
    #: event. Too big: an event that kills workers kills more of them.
    max_attempts: int = setting(whole_number(at_least=1), 3)
    #: Seconds without renewal after which a worker is taken for dead. Too small: an event whose worker stood
    #: still runs twice. Too big: events of a dead worker wait that long.
    lease: float = setting(seconds, 10.0)
    #: Where a group without commits begins: `earliest`, `latest` (what came before is never handled) or
    #: `none` (an error).
    auto_offset_reset: str = setting(choice("earliest", "latest", "none"), "earliest")
    #: How Avro is written: `raw` (as KaufmannEx) or `confluent` (magic byte and schema id first). Both are
    #: read.
    framing: str = setting(choice("raw", "confluent"), "raw")
    #: The formats of events, in the order in which they are tried: `avro`, `json`, and names of entry points of
    #: the group `kaufmann_celery.transcoders`. One that has a schema for an event comes before the others.
    transcoders: tuple[str, ...] = setting(several(text), ("avro", "json"))
    #: Which subject an event's schema has: `event_name` (`query.req`, `query.res` and `event.error` for all of
    #: their kind), or the dotted path of a function `subject(event_name, topic)` that returns it.
    subject_strategy: str = setting(choice("event_name", or_callable=True), "event_name")
    #: Which topic an output goes to: `default`, `event_namespace` (`order.placed` for `event.order.placed.v1`),
    #: or the dotted path of a function `topic(output)` that returns a topic, or several in a list.
    topic_strategy: str = setting(choice("default", "event_namespace", or_callable=True), "default")
    #: Which partition an output goes to: `key` (murmur2 of the key), `random`, `md5` (as KaufmannEx), or the
    #: dotted path of a function `partition(output, meta)` that returns a whole number, taken modulo the
    #: topic's partitions.
    partition_strategy: str = setting(choice("key", "random", "md5", or_callable=True), "key")
    #: Bytes of a record, and of one event's outputs, above which the event fails. Too small: events fail.
    #: Too big: Kafka refuses what is written, and Redis and workers need the memory.
    max_event_bytes: int = setting(whole_number(at_least=1), 1024 * 1024)
    #: Seconds for a graceful stop. Too small: finished events are settled only after the next start. Too
    #: big: the supervisor kills first (honcho after 5).
    shutdown_timeout: float = setting(seconds, 4.0)
    #: `host:port` of an ingester's /livez, /readyz, /metrics and status page; without it there are none. An
    #: address that others reach shows them to everybody. Planned: this version refuses it.
    http_address: str | None = setting(optional(listen_address))
    _origins: Mapping[str, str] = field(compare=False)

    def origin(self, name: str) -> str:
        """Say where the setting *name* got its value: `keyword`, `KAUFMANN_LEASE`, `default` …

        Raises KeyError if there is no such setting.
        """
        return self._origins[name]

    def describe(self) -> list[Setting]:
        """Return every setting with its value, secrets masked, and where it came from."""
        return [Setting(name, show(getattr(self, name)), origin) for name, origin in self._origins.items()]

    def __repr__(self) -> str:
        return (
            f"<Config {self.service}: brokers {show(self.brokers)}, group {self.consumer_group}, "
            f"redis {show(self.redis_url)}, registry {show(self.schema_registry_url)}>"
        )


_RULES: dict[str, Rule] = {"service": Rule(topic, None, alias=None, secret=False), **rules_of(Config)}
_NAMES: dict[str, str] = {
    written: name for name, rule in rules_of(Config).items() for written in (name, rule.alias) if written
}


def load_config(
    service: str,
    *,
    keywords: Mapping[str, Any],
    conf: Mapping[str, Any],
    environ: Mapping[str, str],
    app_broker: str | None = None,
) -> Config:
    """Return the checked settings: keyword > KAUFMANN_<NAME> > app.conf.kaufmann_<name> > default.

    None counts as not given; empty text means none where a setting has no default, and is a fault elsewhere.
    *app_broker* is the URL of the Celery app's broker: `redis_url` falls back to it. Reads mounted secrets;
    connects to nothing. Raises ConfigError with every fault, one a line.
    """
    faults: list[str] = []
    given = {
        **_from_broker(app_broker),
        **sources.from_conf(conf, _NAMES, faults),
        **sources.from_environment(environ, _NAMES, faults),
        **sources.from_keywords(keywords, _NAMES, faults),
        "service": sources.Given(service, "Kaufmann(...)"),
    }
    _warn(unknown_variables(environ) + sources.misplaced_entries(conf, _NAMES))
    origins = {name: given[name].origin if name in given else "default" for name in _RULES}
    values = _read(given, faults)
    faults += _contradictions(values, origins)
    if faults:
        raise ConfigError("\n".join(faults))
    return Config(**values, _origins=MappingProxyType(origins))


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return one warning for each KAUFMANN_* variable in *environ* that no setting reads."""
    return sources.unknown_variables(environ, _NAMES)


def _from_broker(app_broker: str | None) -> sources.Source:
    return {"redis_url": sources.Given(app_broker, "the Celery app's broker")} if is_redis(app_broker) else {}


def _warn(warnings: list[str]) -> None:
    if warnings:
        logger.warning("%s", "; ".join(warnings), extra={"action": "load_config"})


def _read(given: sources.Source, faults: list[str]) -> dict[str, Any]:
    """Return the value of every setting; a faulty one is None, and its fault is added to *faults*."""
    values: dict[str, Any] = {}
    for name, rule in _RULES.items():
        try:
            values[name] = rule.read(given[name].value) if name in given else rule.default_in(values)
        except Fault as error:
            values[name] = None
            faults.append(f"{name}: {error}{_got(rule, given[name])} (from {given[name].origin})")
    return values


def _got(rule: Rule, given: sources.Given) -> str:
    if rule.secret or given.hidden:
        return ""
    value = given.value
    shown = repr(mask(value)) if isinstance(value, str) and not _NUMBER.fullmatch(value) else show(value)
    return f", got {shown if len(shown) <= _SHOWN_LENGTH else shown[:_SHOWN_LENGTH] + '…'}"


def _contradictions(values: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    """Return the faults that only two settings together show."""
    faults = []
    demand, window = values["max_demand"], values["max_window"]
    if demand and window and window < demand:
        faults.append(
            f"max_window: must be at least max_demand ({demand}), got {window} (from {origins['max_window']})"
        )
    # Every undecodable record would be dead-lettered, consumed and dead-lettered again, without end.
    if values["dead_letter_topic"] and values["dead_letter_topic"] in (values["subscription_topics"] or ()):
        faults.append(
            f"dead_letter_topic: must not be one of subscription_topics (from {origins['dead_letter_topic']})"
        )
    if values["producer_mod"] and values["delivery"] == "exactly_once":
        faults.append(
            "producer_mod: cannot be used with delivery exactly_once, which publishes and commits in one Kafka "
            f"transaction (from {origins['producer_mod']})"
        )
    return faults
