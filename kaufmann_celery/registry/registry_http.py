"""HTTP for the schema registry: which URL to ask, and which answers are answers.

A 4xx is the fault of what was asked for, so the event's: it must not hold up all others. But a proxy before the
registry says 404 as well, for a path that it does not like, and for every path where the URL is wrong or the registry
is not deployed. So a 4xx that is not in the registry's own words counts only where the registry lists its subjects at
that very moment; else it is taken for away, and nothing becomes an error event.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import requests

from kaufmann_celery.errors import ConfigError, UnavailableError

logger = logging.getLogger(__name__)

_MEDIA_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_AWAY: Final = "the schema registry does not answer"
_SEE: Final = "see the setting schema_registry_url"
#: These are about us, not about what was asked for.
_REFUSING: Final = frozenset({401, 403, 407})
#: These say: later. So does everything from 500.
_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry answered: JSON, and a status that is final."""

    status: int
    body: Any

    @property
    def is_missing(self) -> bool:
        """Whether the subject, version or schema is not there."""
        return self.status == 404

    @property
    def is_registrys(self) -> bool:
        """Whether the registry gave it; a refusal without its codes may be a proxy's."""
        code = str(self.body.get("error_code", "")) if isinstance(self.body, dict) else ""
        own_404 = code.startswith("404") and len(code) == 5
        return self.status < 400 or (own_404 if self.status == 404 else bool(code))

    @property
    def reason(self) -> str:
        """The registry's own words, at most 500 characters."""
        message = self.body.get("message") if isinstance(self.body, dict) else None
        return str(message or "no reason given")[:500]

    def field(self, name: str) -> Any:
        """A field of a JSON object; UnavailableError where there is none: this is no schema registry."""
        if not isinstance(self.body, dict) or name not in self.body:
            raise UnavailableError(f"what answers is no schema registry; {_SEE}")
        return self.body[name]

    def list(self) -> list[Any]:
        """The JSON array; UnavailableError where it is none."""
        if not isinstance(self.body, list):
            raise UnavailableError(f"what answers is no schema registry ({self.status}); {_SEE}")
        return self.body


@dataclass(frozen=True, slots=True)
class _Base:
    """One of the URLs, without its credentials."""

    url: str
    auth: tuple[str, str] | None


class RegistryHttp:
    """Asks one URL after the other until one answers. Messages and reprs show neither URL nor credentials."""

    def __init__(self, urls: Sequence[str], *, timeout: float, session: requests.Session | None) -> None:
        self._bases = [_base(url) for url in urls]
        if not self._bases:
            raise ConfigError("schema_registry_url is empty")
        self._timeout = timeout
        self._given_session = session
        self._of_thread = threading.local()
        self._first = 0

    def get(self, path: str) -> Answer:
        """GET."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any) -> Answer:
        """POST *body* as JSON."""
        return self._ask("POST", path, body)

    def delete(self, path: str) -> Answer:
        """DELETE."""
        return self._ask("DELETE", path, None)

    def _ask(self, method: str, path: str, body: Any) -> Answer:
        failure = UnavailableError(f"{_AWAY}; {_SEE}")
        for turn in range(len(self._bases)):
            index = (self._first + turn) % len(self._bases)
            try:
                answer = self._ask_one(self._bases[index], method, path, body)
                if not answer.is_registrys:
                    self._ask_one(self._bases[index], "GET", "/subjects", None).list()
            except UnavailableError as error:
                failure = error
            else:
                self._first = index
                return answer
        raise failure

    def _ask_one(self, base: _Base, method: str, path: str, body: Any) -> Answer:
        headers = {"Accept": f"{_MEDIA_TYPE}, application/json", "Content-Type": _MEDIA_TYPE}
        try:
            response = self._session().request(
                method,
                base.url + path,
                json=body,
                headers=headers,
                auth=base.auth,
                timeout=self._timeout,
            )
        except requests.RequestException as error:
            # Not chained: requests' messages show the URL.
            raise UnavailableError(f"{_AWAY} ({type(error).__name__}); {_SEE}") from None
        return _answer(response)

    def _session(self) -> requests.Session:
        """A session for each thread and process: connections must not be shared over a fork."""
        if self._given_session is not None:
            return self._given_session
        if getattr(self._of_thread, "pid", None) != os.getpid():
            self._of_thread.session = requests.Session()
            self._of_thread.pid = os.getpid()
        session: requests.Session = self._of_thread.session
        return session


def _base(url: str) -> _Base:
    parts = urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("schema_registry_url is no http:// or https:// URL")
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    host = parts.netloc.rpartition("@")[2]
    auth = (unquote(user), unquote(password)) if user or password else None
    return _Base(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", auth)


def _answer(response: requests.Response) -> Answer:
    status = response.status_code
    if status in _REFUSING:
        raise UnavailableError(f"the schema registry refuses our credentials ({status}); {_SEE}")
    if status >= 500 or status in _LATER:
        raise UnavailableError(f"the schema registry is not ready ({status}); {_SEE}")
    try:
        return Answer(status, response.json())
    except ValueError:
        if status >= 400:
            return Answer(status, None)
        raise UnavailableError(f"what answers is no schema registry ({status}, no JSON); {_SEE}") from None
