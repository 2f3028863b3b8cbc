"""docs/settings.md says what `Config` declares. Write it anew: `python -m tests.unit.test_config_docs`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from kaufmann_celery.config import Config
from kaufmann_celery.config.fields import Derived, Rule, rules_of

SETTINGS = Path(__file__).parents[2] / "docs" / "settings.md"

INTRODUCTION = """\
# Settings

A setting comes from, first wins: a keyword of `Kaufmann(...)`, its environment variable, `kaufmann_<name>` in
Celery's `app.conf` (`CELERY_KAUFMANN_<NAME>` in a namespace such as Django's), its default. `kaufmann config`
shows every value and where it came from, secrets masked.

- `<VARIABLE>_FILE` names a file, such as a mounted secret, that holds the value; one newline at its end is
  dropped.
- Lists are comma-separated or JSON; durations are in seconds.
- `None` counts as not given. Empty text means none where the default is none, and is a fault elsewhere.
- An unknown keyword or `app.conf` name is a fault, an unknown `KAUFMANN_*` variable a warning. All faults are
  reported together before anything connects, with exit code 2.

| Setting | Environment variable | Default | Meaning |
| --- | --- | --- | --- |
"""


def settings_page() -> str:
    meanings = meanings_of(Config)
    return INTRODUCTION + "".join(row(name, rule, meanings[name]) for name, rule in rules_of(Config).items())


def row(name: str, rule: Rule, meaning: str) -> str:
    alias = f" (also `{rule.alias}`)" if rule.alias else ""
    plain = isinstance(rule.default, Derived) or rule.default is None
    default = rule.default_text if plain else f"`{rule.default_text}`"
    return f"| `{name}`{alias} | `KAUFMANN_{name.upper()}` | {default} | {meaning} |\n"


def meanings_of(config: type) -> dict[str, str]:
    """Return the `#:` comment above each field, as one line."""
    found = re.findall(r"((?:^    #: .*\n)+)    (\w+):", inspect.getsource(config), flags=re.MULTILINE)
    return {name: " ".join(comment.replace("#:", "").split()) for comment, name in found}


def test_every_setting_says_what_it_means() -> None:
    meanings = meanings_of(Config)
    assert [name for name in rules_of(Config) if len(meanings.get(name, "")) < 20] == []


def test_the_settings_page_says_what_config_declares() -> None:
    assert SETTINGS.read_text(encoding="utf-8") == settings_page(), "python -m tests.unit.test_config_docs"


if __name__ == "__main__":
    SETTINGS.write_text(settings_page(), encoding="utf-8")
