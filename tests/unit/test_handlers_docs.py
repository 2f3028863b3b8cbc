"""docs/handlers.md lists what the code declares. Write its tables anew: `python -m tests.unit.test_handlers_docs`."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from kaufmann_celery import ErrorEvent, Event, Kaufmann, Output
from kaufmann_celery.handlers import Options
from kaufmann_celery.tasks.retries import RetryPolicy
from tests.unit.test_config_docs import meanings_of

PAGE = Path(__file__).parents[2] / "docs" / "handlers.md"
#: A table with the line before it that names it.
TABLE = re.compile(r"<!-- (\w+) -->\n(?:\|.*\n)*")
VALUES = {"Event": Event, "ErrorEvent": ErrorEvent, "Output": Output}


def page_with_tables(page: str) -> str:
    return TABLE.sub(lambda found: f"<!-- {found[1]} -->\n{table(found[1])}", page)


def table(name: str) -> str:
    rows = options() if name == "on" else fields(VALUES[name])
    head = ("Option" if name == "on" else "Field", "Default", "Meaning")
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ("---",) * 3, *rows))


def fields(value: type) -> list[tuple[str, ...]]:
    meanings = meanings_of(value)
    return [(f"`{one.name}`", default_of(one), meanings.get(one.name, "")) for one in dataclasses.fields(value)]


def default_of(field: dataclasses.Field[object]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "" if field.default is dataclasses.MISSING else f"`{field.default!r}`"


def options() -> list[tuple[str, ...]]:
    meanings = meanings_of(RetryPolicy) | meanings_of(Options)
    given = [one for one in inspect.signature(Kaufmann.on).parameters.values() if one.kind is one.KEYWORD_ONLY]
    return [(f"`{one.name}`", f"`{one.default!r}`", meanings.get(one.name, "")) for one in given]


@pytest.mark.parametrize("name", [*VALUES, "on"])
def test_every_field_and_option_says_what_it_means(name: str) -> None:
    rows = options() if name == "on" else fields(VALUES[name])

    assert [row[0] for row in rows if len(row[2]) < 10] == []


def test_the_options_of_on_are_those_of_a_handler() -> None:
    declared = {one.name for kind in (Options, RetryPolicy) for one in dataclasses.fields(kind)} - {"retry"}

    assert {row[0].strip("`") for row in options()} == declared


def test_the_page_lists_what_the_code_declares() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert sorted(TABLE.findall(page)) == sorted([*VALUES, "on"])
    assert page == page_with_tables(page), "python -m tests.unit.test_handlers_docs"


def test_the_example_of_the_page_can_be_imported() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    made: dict[str, object] = {}

    exec(compile(example, str(PAGE), "exec"), made)

    assert made["kaufmann"].faults() == []  # type: ignore[attr-defined] # a Kaufmann


if __name__ == "__main__":
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
