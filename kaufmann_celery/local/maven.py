"""Fetches files from Maven repositories: each appears whole and with the right checksum, or not at all."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

Progress = Callable[[str], None]

_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 18
_REPORT_EVERY_S = 2.0
_RETRIES = Retry(total=4, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))


class Report:
    """Tells now and then how far a download of one or many files is; silent when nothing is downloaded."""

    def __init__(self, title: str, progress: Progress) -> None:
        self._title, self._progress = title, progress
        self._bytes = 0
        self._started = self._last = 0.0

    def add(self, count: int) -> None:
        """Count *count* more bytes."""
        now = time.monotonic()
        if not self._started:
            self._started = self._last = now
            self._progress(self._title)
        self._bytes += count
        if now - self._last >= _REPORT_EVERY_S:
            self._last = now
            self._progress(f"{self._title}: {self._bytes / 1e6:.0f} MB in {now - self._started:.0f} s")


def context(report: Report) -> MavenContext:
    """Return jgo's context, with the user's jgo settings, that downloads through this module."""
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext, PythonResolver

    class WholeFiles(PythonResolver):
        """jgo's own writes straight to the final name, where a file cut short passes for the whole, for ever.

        It also goes on after a wrong checksum.
        """

        def download(self, artifact: Artifact) -> Path:
            return _download(session, artifact, report)

    settings = GlobalSettings.load()
    session = requests.Session()
    session.mount("http", HTTPAdapter(max_retries=_RETRIES))
    return MavenContext(
        resolver=WholeFiles(),
        repo_cache=settings.repo_cache,
        # The user's own repositories first: the public one may be out of reach.
        remote_repos={
            **settings.repositories,
            "central": settings.repositories.get("central", MAVEN_CENTRAL_URL),
        },
    )


def _download(session: requests.Session, artifact: Artifact, report: Report) -> Path:
    target: Path = artifact.cached_path
    path = f"{artifact.component.path_prefix.as_posix()}/{artifact.filename}"
    for repository in artifact.context.remote_repos.values():
        if _fetch(session, f"{repository.rstrip('/')}/{path}", target, report):
            return target
    raise LookupError(f"no repository has {path}")


def _fetch(session: requests.Session, url: str, target: Path, report: Report) -> bool:
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        session.get(url, stream=True, timeout=_TIMEOUT_S) as response,
        tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as staging,
    ):
        if response.status_code == requests.codes.not_found:
            return False
        response.raise_for_status()
        digest = hashlib.sha1(usedforsecurity=False)
        part = Path(staging) / target.name
        with part.open("wb") as file:
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                report.add(len(chunk))
        _verify(session, url, digest.hexdigest())
        part.replace(target)
        return True


def _verify(session: requests.Session, url: str, digest: str) -> None:
    response = session.get(f"{url}.sha1", timeout=_TIMEOUT_S)
    if response.status_code == requests.codes.not_found:
        return  # not every repository publishes them
    response.raise_for_status()
    if response.text.split()[:1] != [digest]:
        raise ValueError(f"{url} is damaged: its SHA-1 is {digest}, not {response.text.strip()}")
