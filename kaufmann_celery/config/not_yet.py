"""Settings that are specified and not built yet. Asked for, they are an error, never silently ignored."""

from __future__ import annotations

from kaufmann_celery.config import Config
from kaufmann_celery.errors import ConfigError


def check_available(config: Config) -> None:
    """Raise `ConfigError` where a setting asks for what this version does not have."""
    asked = {
        "http_address": config.http_address is not None,
    }
    faults = [
        f"{name}: {getattr(config, name)} is not available in this version yet; leave it at its default"
        for name, is_asked in asked.items()
        if is_asked
    ]
    if faults:
        raise ConfigError("\n".join(faults))
