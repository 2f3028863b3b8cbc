"""How one setting is declared: what it is without a value, how a value is read, whether it holds secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kaufmann_celery.config.masking import show


class Fault(ValueError):
    """What is wrong with a value, "must be …", without any part of the value: it may be a secret."""


#: Turns what a source gave into the setting's value, or raises Fault.
Read = Callable[[Any], Any]


@dataclass(frozen=True)
class Derived:
    """A default that follows from settings declared further up, or from where the program runs."""

    #: How the documentation says it.
    text: str
    #: Given the values found so far, by name; a faulty one is None.
    derive: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Rule:
    """What `load_config` needs to know about one field of `Config`."""

    read: Read
    default: Any
    #: Another name that users may write.
    alias: str | None
    #: True: a faulty value never appears in a message.
    secret: bool

    def default_in(self, values: Mapping[str, Any]) -> Any:
        """Return the default, given the *values* found so far."""
        return self.default.derive(values) if isinstance(self.default, Derived) else self.default

    @property
    def default_text(self) -> str:
        """The default as the documentation shows it."""
        return self.default.text if isinstance(self.default, Derived) else show(self.default)


def setting(read: Read, default: object = None, *, alias: str | None = None, secret: bool = False) -> Any:
    """Declare a field of `Config`. *default* is the value itself or a `Derived`; it is not read."""
    return dataclasses.field(metadata={"rule": Rule(read, default, alias, secret)})


def rules_of(config: type[Any]) -> dict[str, Rule]:
    """Return the rule of each setting that the dataclass *config* declares, in their order."""
    return {field.name: field.metadata["rule"] for field in dataclasses.fields(config) if "rule" in field.metadata}
