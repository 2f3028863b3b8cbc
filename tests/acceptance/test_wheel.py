"""The wheel, built and installed alone into a clean environment, runs a service."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.integration.scene import scene
from tests.integration.user_commands import commands, send_good

ROOT = Path(__file__).parents[2]
SERVICE = """
from kaufmann_celery import Kaufmann, Output

kaufmann = Kaufmann("NAME")
celery = kaufmann.celery
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    ran(sys.executable, "-m", "pip", "wheel", str(ROOT), "--no-deps", "--wheel-dir", str(directory))
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a clean environment has its commands."""
    directory = tmp_path_factory.mktemp("clean")
    ran(sys.executable, "-m", "venv", str(directory))
    ran(str(directory / "bin" / "python"), "-m", "pip", "install", str(wheel))
    return directory / "bin"


def ran(*command: str, cwd: Path | None = None) -> str:
    """Run to the end, which must be good; return what was written."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("KAUFMANN_", "PYTHON"))}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}

    package = ROOT / "kaufmann_celery"
    files = {str(file.relative_to(ROOT)) for file in package.rglob("*") if file.is_file()}
    assert held == {file for file in files if "__pycache__" not in file}


def test_the_wheel_holds_scripts_schemas_and_the_mark_of_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [Path(name) for name in archive.namelist()]

    package = ROOT / "kaufmann_celery"
    for directory, ending in (("ledger/lua", ".lua"), ("registry/shipped", ".avsc")):
        wanted = {file.relative_to(ROOT) for file in (package / directory).glob(f"*{ending}")}
        assert wanted
        assert wanted <= set(names)
    assert Path("kaufmann_celery/py.typed") in names


def test_its_commands_start_without_any_extra(scripts: Path, tmp_path: Path) -> None:
    assert "ingester" in ran(str(scripts / "kaufmann"), "--help", cwd=tmp_path)
    assert ran(str(scripts / "kaufmann"), "--version", cwd=tmp_path).startswith("kaufmann-celery ")
    assert "kaufmann" in ran(str(scripts / "celery"), "--help", cwd=tmp_path)


def test_importing_the_package_imports_neither_kafka_nor_celery(scripts: Path, tmp_path: Path) -> None:
    check = "import kaufmann_celery, sys; assert not {'kafka', 'celery', 'redis'} & sys.modules.keys()"

    ran(str(scripts / "python"), "-W", "error", "-c", check, cwd=tmp_path)


def test_what_it_installs_handles_an_event(scripts: Path, tmp_path: Path, stack: dict[str, str]) -> None:
    with scene(tmp_path, stack, SERVICE, name="wheel", schemas={}) as one, commands(one) as typed:
        typed.scripts = scripts
        typed.start_service()
        ids = send_good(one, 4)

        one.handled(*ids, name="good.handled")
        one.kafka.await_all_committed(one.name, one.name)
        assert (
            str(ROOT / "kaufmann_celery")
            not in typed.run("python", "-c", "import kaufmann_celery; print(kaufmann_celery)").stdout
        )
