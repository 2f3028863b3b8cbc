"""The connection to Redis and its scripts. Redis' own exceptions end here."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import (
    TimeoutError as RedisTimeoutError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel

from kaufmann_celery.errors import UnavailableError
from kaufmann_celery.ledger import cluster
from kaufmann_celery.ledger.address import TTL_S
from kaufmann_celery.ledger.lines import Lines

log = logging.getLogger(__name__)

#: Seconds to wait for an answer, then the call counts as failed and is made again.
SOCKET_TIMEOUT_S = 5.0

#: Nothing is wrong with the call: Redis is away, starting, failing over or full.
_AWAY = (
    RedisConnectionError,
    RedisTimeoutError,
    ReadOnlyError,
    OutOfMemoryError,
    RedisClusterException,
    ClusterDownError,
    MasterDownError,
    TryAgainError,
)

#: The same, where redis-py has no class for it: the disk is full, replicas are missing, a script blocks.
_AWAY_WORDS = ("MISCONF", "NOREPLICAS", "BUSY ", "UNBLOCKED")

#: A script's keys and arguments.
Call = tuple[Sequence[str], Sequence[Any]]

_OWNER_SCRIPTS = ("claim", "turn", "settle", "conclude", "refuse", "forget", "audit")


@cache
def _script(name: str) -> tuple[str, str]:
    """Return a script's text and its SHA1, by which Redis knows it."""
    folder = files(__package__) / "lua"
    shared = ["common", "fence"] if name in _OWNER_SCRIPTS else ["common"]
    *before, script, after = ((folder / f"{part}.lua").read_text() for part in [*shared, name, "ageing"])
    text = "\n".join([f"local TTL_S = {TTL_S}", *before, f"local function script()\n{script}\nend", after])
    return text, hashlib.sha1(text.encode()).hexdigest()  # noqa: S324 - Redis' own addressing of scripts


class LedgerConnection:
    """Runs the ledger's scripts. Thread-safe; every call blocks for at most a few seconds.

    Raises `UnavailableError` where Redis is away; whether the script ran is then unknown, so each may run again.
    """

    def __init__(self, make: Callable[[], Any], *, is_cluster: bool = False) -> None:
        self._make = make
        self._is_cluster = is_cluster
        self._made: redis.Redis | None = None
        #: None where scripts for several ledgers cannot travel together.
        self._lines: Lines | None = None
        self._lock = threading.Lock()

    @property
    def client(self) -> redis.Redis:
        """redis-py's client, made at its first use: a Redis Cluster is asked for its nodes then."""
        if self._made is not None:
            return self._made
        with self._lock:
            if self._made is None:
                made = self._make()
                # First, for the client is looked for without the lock, and the lines are there with it.
                self._lines = None if self._is_cluster else Lines(made.connection_pool)
                self._made = made
            return self._made

    def run(self, script: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run one script and return its answer."""
        return self.ask(script, [(keys, args)])()[0]

    def run_many(self, script: str, calls: Sequence[Call]) -> list[Any]:
        """Run one script for several ledgers, in one round trip where they are not spread over a Redis Cluster."""
        return self.ask(script, calls)()

    def ask(self, script: str, calls: Sequence[Call]) -> Callable[[], list[Any]]:
        """Have one script run for several ledgers; return what waits for the answers, and has to be called.

        All of it is done at once where they are spread over a Redis Cluster.
        """
        text, sha = _script(script)
        with translated:
            client = self.client
            if self._lines is None:
                found = [_evaluated(client, text, sha, *call) for call in calls]
                return lambda: found
            commands = [("EVALSHA", sha, len(keys), *keys, *args) for keys, args in calls]
            return partial(self._answers, text, calls, self._lines.send(commands))

    def ping(self) -> None:
        """Return once Redis answers; raise `UnavailableError` where it does not."""
        with translated:
            self.client.ping()

    def close(self) -> None:
        """Close the connections."""
        if self._made is not None:
            self._made.close()

    def _answers(self, text: str, calls: Sequence[Call], wait: Callable[[], list[Any]]) -> list[Any]:
        with translated:
            answers = wait()
            for number, answer in enumerate(answers):
                if isinstance(answer, NoScriptError):
                    keys, args = calls[number]
                    answers[number] = self.client.eval(text, len(keys), *keys, *args)
                elif isinstance(answer, Exception):
                    raise answer
            return answers


def _evaluated(client: redis.Redis, text: str, sha: str, keys: Sequence[str], args: Sequence[Any]) -> Any:
    try:
        return client.evalsha(sha, len(keys), *keys, *args)
    except NoScriptError:
        return client.eval(text, len(keys), *keys, *args)


class _Translated:
    """Raises `UnavailableError` for what says that Redis is away. Made once: each script passes through it twice."""

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Translate *error*."""
        if error is None:
            return
        if isinstance(error, _AWAY):
            raise UnavailableError(f"Redis does not answer ({type(error).__name__}); check redis_url") from error
        if isinstance(error, ResponseError):
            word = next((word for word in _AWAY_WORDS if word in str(error)), None)
            if word is not None:
                raise UnavailableError(f"Redis refuses to write ({word.strip()}); see its log") from error


translated: Final = _Translated()


def connect(url: str, transport_options: Mapping[str, Any] | None = None) -> LedgerConnection:
    """Connect to *url*.

    It is `redis://`, `rediss://`, `redis+socket://`, `redis+cluster://h1:6379,h2:6379`, or
    `sentinel://h1:26379;sentinel://h2:26379`.

    *transport_options* are Celery's (`master_name`, `sentinel_kwargs`). Does not block: the first call connects.
    """
    # No retries inside redis-py: they would hide that Redis was away, and leases must not expire for that.
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "health_check_interval": 30,
        "retry": Retry(NoBackoff(), 0),
    }
    if url.startswith("redis+socket://"):
        path = "unix://" + url.removeprefix("redis+socket://")
        return LedgerConnection(partial(redis.Redis.from_url, path, **options))
    options |= {"socket_connect_timeout": SOCKET_TIMEOUT_S, "socket_keepalive": True}
    if url.startswith("sentinel://"):
        return LedgerConnection(partial(_by_sentinel, url, transport_options or {}, options))
    if url.startswith(cluster.SCHEMES):
        return LedgerConnection(partial(cluster.connected_to, url, options), is_cluster=True)
    return LedgerConnection(partial(redis.Redis.from_url, url, **options))


def _by_sentinel(url: str, transport_options: Mapping[str, Any], options: dict[str, Any]) -> redis.Redis:
    parts = [urlsplit(one) for one in url.split(";")]
    sentinel = Sentinel(  # type: ignore[no-untyped-call] # redis-py types only part of itself
        [(part.hostname, part.port or 26379) for part in parts],
        sentinel_kwargs=dict(transport_options.get("sentinel_kwargs", {})),
        **options,
    )
    password = unquote(parts[0].password) if parts[0].password else None
    database = int(parts[0].path.strip("/") or 0)
    master: redis.Redis = sentinel.master_for(  # type: ignore[no-untyped-call] # as above
        transport_options.get("master_name", "mymaster"), password=password, db=database
    )
    return master
