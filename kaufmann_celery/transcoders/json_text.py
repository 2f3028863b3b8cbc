"""Python's own JSON encoder, made once: `json.JSONEncoder` makes the one in C anew for each call."""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable
from typing import Any, Final

#: The encoder in C, None where Python comes without it.
_make_encoder: Final[Any] = getattr(json.encoder, "c_make_encoder", None)
_quoted: Final = json.encoder.encode_basestring_ascii


def encoder(
    default: Callable[[Any], Any], *, allow_nan: bool, separators: tuple[str, str] = (", ", ": ")
) -> Callable[[Any], str]:
    """Return what writes a value as ASCII JSON, as `json.dumps` does, and does not look for circles.

    It raises `ValueError` for NaN and the infinities unless *allow_nan*, `TypeError` for keys that JSON cannot have,
    `RecursionError` where the value nests too deep, and what *default* raises, which is given what JSON lacks.
    """
    if _make_encoder is None:
        return json.JSONEncoder(
            check_circular=False, allow_nan=allow_nan, separators=separators, default=default
        ).encode
    item, key = separators
    plain = (False, False)  # sort_keys, skipkeys
    encode = _make_encoder(None, default, _quoted, None, key, item, *plain, allow_nan)
    return lambda value: "".join(encode(value, 0))
