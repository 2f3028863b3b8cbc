"""The transcoder for JSON, KaufmannEx's second: an object with `meta` beside the payload's own fields."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, NoReturn
from uuid import UUID

from kaufmann_celery.errors import DecodeError, EncodeError
from kaufmann_celery.transcoders import tagged_json
from kaufmann_celery.transcoders.avro_depth import MAX_DEPTH
from kaufmann_celery.transcoders.json_schemas import JsonSchemas
from kaufmann_celery.transcoders.json_text import encoder
from kaufmann_celery.transcoders.transcoder import Decoded, Written

_CONTENT_TYPE: Final = "content-type"
_JSON: Final = b"application/json"
_META: Final = "meta"
_PAYLOAD: Final = "payload"
#: An envelope in which payload stands beside meta.
_ENVELOPES: Final = ({_META, _PAYLOAD}, {"metadata", _PAYLOAD})


class JsonTranscoder:
    """Reads and writes JSON objects; a payload must satisfy the JSON Schema of its event, where there is one."""

    def __init__(self, schemas: JsonSchemas) -> None:
        self._schemas = schemas

    def claims(self, value: bytes, headers: Mapping[str, bytes]) -> bool:  # noqa: ARG002 - as the Transcoder has it
        """Return whether the header `content-type` says so."""
        said = headers.get(_CONTENT_TYPE)
        if said is None:
            return False
        kind = said.partition(b";")[0].strip().lower()
        return kind == _JSON or (kind.startswith(b"application/") and kind.endswith(b"+json"))

    def knows(self, name: str, topic: str) -> bool:  # noqa: ARG002 - as the Transcoder has it
        """Return whether `<name>.json` stands in `schema_path`."""
        return name in self._schemas

    def read(self, name: str | None, topic: str, value: bytes, headers: Mapping[str, bytes]) -> Decoded | None:  # noqa: ARG002 - as the Transcoder has it
        """Return what *value* says; None where it is no object."""
        if value.lstrip()[:1] != b"{":
            return None
        payload, meta = _split(_parsed(value))
        name = name or str(meta.get("message_name") or "")
        if fault := self._schemas.fault(name, payload):
            raise DecodeError(fault)
        return Decoded(payload, meta, schema_name=name)

    def write(self, name: str, topic: str, payload: Any, meta: Mapping[str, Any]) -> Written:  # noqa: ARG002 - as the Transcoder has it
        """Return KaufmannEx's form: `meta` beside the payload's own fields."""
        if not isinstance(payload, Mapping):
            raise EncodeError(f"payload: a JSON event's payload is an object, got {type(payload).__name__}")
        # Beside meta it could not be told from an envelope.
        nested = _META in payload or payload.keys() == {_PAYLOAD}
        text = _text({_META: meta, _PAYLOAD: payload} if nested else {_META: meta, **payload})
        if name in self._schemas and (fault := self._schemas.fault(name, json.loads(_text(payload)))):
            raise EncodeError(fault)
        return Written(text.encode(), ((_CONTENT_TYPE, _JSON),), carries_meta=True)


class UncheckedJson:
    """Writes any object in JSON, whatever schema there is for it: the last resort."""

    def __init__(self) -> None:
        self._transcoder = JsonTranscoder(JsonSchemas(()))

    def write(self, name: str, topic: str, payload: Any, meta: Mapping[str, Any], form: str | None = None) -> Written:  # noqa: ARG002 - as others have it
        """Return the JSON. Raises `EncodeError`."""
        return self._transcoder.write(name, topic, payload, meta)


def _parsed(value: bytes) -> dict[str, Any]:
    try:
        text = value.decode()
        found: dict[str, Any] = json.loads(text, parse_constant=_refuse)
        if "\\u" in text:
            # JSON can spell half a surrogate pair, which no name, topic or Avro string can hold.
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the value is not JSON ({type(error).__name__})") from None
    if tagged_json.is_too_deep(found, MAX_DEPTH):
        raise DecodeError(f"the value nests deeper than {MAX_DEPTH} levels")
    return found


def _split(found: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return payload and meta: of an envelope, else what stands beside `meta`, else all of it without meta."""
    for envelope in _ENVELOPES:
        if found.keys() == envelope and isinstance(meta := found[(envelope - {_PAYLOAD}).pop()], dict):
            return found[_PAYLOAD], meta
    meta = found.get(_META)
    if isinstance(meta, dict):
        return {key: item for key, item in found.items() if key != _META}, meta
    return found, {}


def _text(value: Mapping[str, Any]) -> str:
    try:
        return _encode(value)
    except (ValueError, TypeError, RecursionError) as error:
        # Not chained: the message may show the value.
        reason = "it nests too deep" if isinstance(error, RecursionError) else "it holds what JSON cannot"
        raise EncodeError(f"payload: {reason} ({type(error).__name__})") from None


def _plain(value: Any) -> Any:
    """Return what JSON lacks as text, as `kaufmann events` shows it."""
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode()
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    raise EncodeError(f"a payload cannot hold {type(value).__module__}.{type(value).__qualname__}")


_encode: Final = encoder(_plain, allow_nan=False)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
