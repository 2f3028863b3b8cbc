"""Makes values fit to be shown: passwords, tokens and keys are replaced by `***`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

HIDDEN = "***"

_SECRET_NAME = re.compile("pass|secret|token|key|credential|jaas", re.IGNORECASE)
_PARAMETER = re.compile(r"[?&]([^?&=]*)=")
_SCHEME = r"[a-z0-9+.-]+://"
# A URL ends only where the next begins, because an unquoted password may hold any character, a space too.
# Every repetition begins where no other could, so that time grows with the length only.
_URL = re.compile(rf"(?<![a-z0-9+.-])({_SCHEME})((?:(?![\s,;]{_SCHEME}).)*)", re.IGNORECASE)
_USER = re.compile(r"[\w.%+-]+")


def mask(value: str) -> str:
    """Return *value* with the password of every URL in it replaced by `***`; the rest stays as it is.

    Use it for text that may hold a URL, such as another library's error message. In doubt it hides too much.
    """
    return _URL.sub(lambda url: url[1] + _mask_query(url[2]), value)


def show(value: object) -> str:
    """Return a setting's value as users read it, masked: `a, b` for several, JSON for a mapping."""
    match value:
        case None:
            return "none"
        case Mapping():
            return json.dumps(_mask_entries(value), ensure_ascii=False)
        case str() | Path():
            return mask(str(value))
        case bool() | int() | float():
            return str(value)
        case Sequence() if not isinstance(value, bytes | bytearray):
            return ", ".join(map(show, value)) or "none"
    return _name(value)


def _mask_query(url: str) -> str:
    named = (parameter for parameter in _PARAMETER.finditer(url) if _SECRET_NAME.search(parameter[1]))
    secret = next(named, None)
    if secret is None:
        return _mask_user(url)
    if "@" in url[secret.end() :]:
        return HIDDEN  # it may as well be a password that looks like a query
    return _mask_user(url[: secret.end()]) + HIDDEN


def _mask_user(url: str) -> str:
    userinfo, at, host = url.rpartition("@")
    if not at:
        return url
    user, colon, _ = userinfo.partition(":")
    shown = f"{user}:" if colon and (not user or _USER.fullmatch(user)) else ""
    return f"{shown}{HIDDEN}@{host}"


def _mask_entries(entries: Mapping[object, object]) -> dict[str, object]:
    return {
        mask(str(name)): HIDDEN if _SECRET_NAME.search(str(name)) else _mask_entry(entry)
        for name, entry in entries.items()
    }


def _mask_entry(entry: object) -> object:
    match entry:
        case None | bool() | int() | float():
            return entry
        case str():
            return HIDDEN if "-----BEGIN" in entry else mask(entry)
        case Mapping():
            return _mask_entries(entry)
        case list() | tuple():
            return [_mask_entry(one) for one in entry]
    return _name(entry)


def _name(value: object) -> str:
    # Never its repr: that of a token provider may hold the token.
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
