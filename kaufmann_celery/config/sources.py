"""Where the values of settings come from: keywords, variables, mounted files, Celery's app.conf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaufmann_celery.config.values import suggestion

VARIABLE = "KAUFMANN_"
CONF = "kaufmann_"
FILE = "_FILE"


@dataclass(frozen=True)
class Given:
    """A value as a source gave it, not yet read."""

    value: Any
    #: What `Config.origin` says.
    origin: str
    #: True: from a mounted file, which holds a secret, so that no message may show it.
    hidden: bool = False


#: One source: settings by name.
Source = dict[str, Given]
#: What users may write (names and aliases), to the setting's name.
Names = Mapping[str, str]


def from_keywords(keywords: Mapping[str, Any], names: Names, faults: list[str]) -> Source:
    """Return what was given to `Kaufmann(...)`; names that no setting has are added to *faults*."""
    faults += [
        f"{name}: unknown setting{suggestion(name, names)} (from keyword)" for name in keywords if name not in names
    ]
    return _one_per_setting(((name, Given(value, "keyword")) for name, value in keywords.items()), names, faults)


def from_environment(environ: Mapping[str, str], names: Names, faults: list[str]) -> Source:
    """Return what KAUFMANN_<NAME> holds, and the files that KAUFMANN_<NAME>_FILE names. Reads files."""
    return _one_per_setting(_variables(environ, names, faults), names, faults)


def from_conf(conf: Mapping[str, Any], names: Names, faults: list[str]) -> Source:
    """Return the `kaufmann_*` entries of Celery's `app.conf`, also in a namespace (CELERY_KAUFMANN_*)."""
    faults += [
        f"{name}: unknown setting{suggestion(name, names)} (from app.conf.{CONF}{name})"
        for name in _names_in(conf)
        if name not in names
    ]
    found = ((name, Given(conf.get(CONF + name), f"app.conf.{CONF}{name}")) for name in names)
    return _one_per_setting(found, names, faults)


def unknown_variables(environ: Mapping[str, str], names: Names) -> list[str]:
    """Return one warning for each KAUFMANN_* variable that no setting reads."""
    known = [VARIABLE + name.upper() for name in names]
    return [
        f"{variable} is not a setting{suggestion(variable.upper(), known)}"
        for variable in sorted(environ)
        if variable.startswith(VARIABLE) and variable.removesuffix(FILE) not in known
    ]


def misplaced_entries(conf: Mapping[str, Any], names: Names) -> list[str]:
    """Return one warning for each setting that app.conf holds in a spelling Celery does not read."""
    entries, prefix = _entries(conf)
    return [
        f"{key} in Celery's configuration is not read, write {prefix + key if prefix else key.lower()}"
        for key in entries
        if key.startswith(VARIABLE) and key.removeprefix(VARIABLE).lower() in names
    ]


def _one_per_setting(found: Iterable[tuple[str, Given]], names: Names, faults: list[str]) -> Source:
    source: Source = {}
    for written, given in found:
        if given.value is None or written not in names:
            continue
        earlier = source.setdefault(names[written], given)
        if earlier is not given and earlier.value != given.value:
            faults.append(f"{names[written]}: {earlier.origin} and {given.origin} differ, set one of them")
    return source


def _variables(environ: Mapping[str, str], names: Names, faults: list[str]) -> Iterator[tuple[str, Given]]:
    for name in names:
        variable = VARIABLE + name.upper()
        if variable in environ and variable + FILE in environ:
            faults.append(f"{names[name]}: {variable} and {variable}{FILE} are both set, set one of them")
        elif variable in environ:
            yield name, Given(environ[variable], variable)
        elif variable + FILE in environ:
            yield from _mounted(name, names[name], variable + FILE, environ[variable + FILE], faults)


def _mounted(written: str, name: str, variable: str, path: str, faults: list[str]) -> Iterator[tuple[str, Given]]:
    try:
        # newline="" keeps a secret's own line ends; only the last one was put there by an editor.
        with Path(path).open(encoding="utf-8", newline="") as file:
            content = file.read()
    except (OSError, ValueError) as error:
        # The path stays out: those who mix up the variables put the secret itself there.
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        faults.append(f"{name}: cannot read the file: {reason} (from {variable})")
    else:
        yield written, Given(content.removesuffix("\n").removesuffix("\r"), variable, hidden=True)


def _names_in(conf: Mapping[str, Any]) -> list[str]:
    """Return the names of all `kaufmann_*` entries; those in a namespace are listed in upper case."""
    entries, prefix = _entries(conf)
    keys = [key.removeprefix(prefix).lower() if prefix and key.startswith(prefix) else key for key in entries]
    return list(dict.fromkeys(key.removeprefix(CONF) for key in keys if key.startswith(CONF)))


def _entries(conf: Mapping[str, Any]) -> tuple[list[str], str]:
    """Return all names in *conf*, and what a namespace puts before each, `CELERY_`; empty without one."""
    # In this order: Celery loads its configuration, and learns the namespace, only when it is looked at.
    entries = list(conf)
    return entries, getattr(conf, "prefix", None) or ""
