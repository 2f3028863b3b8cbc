"""HTTP for the schema registry: which URL to ask, and which answers are answers."""

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
#: These say: later. So does everything from 500.
_LATER: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the registry answered: JSON, and a status that is final."""

    status: int
    body: Any
    #: The subject, version or schema is not there.
    is_missing: bool

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
            raise UnavailableError(f"what answers is no schema registry; {_SEE}")
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

    def get(self, path: str, *, any_404: bool = False) -> Answer:
        """GET; *any_404* takes every 404 for "not there", not only the registry's own."""
        return self._ask("GET", path, None, any_404=any_404)

    def post(self, path: str, body: Any) -> Answer:
        """POST *body* as JSON."""
        return self._ask("POST", path, body, any_404=False)

    def delete(self, path: str) -> Answer:
        """DELETE."""
        return self._ask("DELETE", path, None, any_404=False)

    def _ask(self, method: str, path: str, body: Any, *, any_404: bool) -> Answer:
        failure = UnavailableError(f"{_AWAY}; {_SEE}")
        for turn in range(len(self._bases)):
            index = (self._first + turn) % len(self._bases)
            try:
                answer = self._ask_one(self._bases[index], method, path, body, any_404=any_404)
            except UnavailableError as error:
                failure = error
            else:
                self._first = index
                return answer
        raise failure

    def _ask_one(self, base: _Base, method: str, path: str, body: Any, *, any_404: bool) -> Answer:
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
        return _answer(response, any_404=any_404)

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


def _answer(response: requests.Response, *, any_404: bool) -> Answer:
    status = response.status_code
    if status in (401, 403):
        raise UnavailableError(f"the schema registry refuses our credentials ({status}); {_SEE}")
    if status >= 500 or status in _LATER:
        raise UnavailableError(f"the schema registry is not ready ({status}); {_SEE}")
    if status == 404 and any_404:
        return Answer(status, {}, is_missing=True)
    try:
        body = response.json()
    except ValueError:
        raise UnavailableError(f"what answers is no schema registry ({status}, no JSON); {_SEE}") from None
    missing = status == 404 and _error_code(body).startswith("404") and len(_error_code(body)) == 5
    if status == 404 and not missing:
        raise UnavailableError(f"what answers is no schema registry (404); {_SEE}")
    return Answer(status, body, is_missing=missing)


def _error_code(body: Any) -> str:
    """As text: some registries send a number, some a string."""
    return str(body.get("error_code", "")) if isinstance(body, dict) else ""
