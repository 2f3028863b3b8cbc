"""Services of a test's own, which it may stop, freeze and empty."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaufmann_celery.local import LocalStack


class OwnServices:
    """Some of `kafka`, `redis` and `registry`. Their ports stay, whatever happens to them."""

    def __init__(self, directory: Path, *names: str) -> None:
        self._directory = directory
        self._names = names
        #: The settings to reach them.
        self.settings: dict[str, str] = {}

    def __enter__(self) -> OwnServices:
        self.settings = LocalStack(self._directory, services=self._names).up(owner_pid=os.getpid())
        return self

    def __exit__(self, *_: object) -> None:
        LocalStack(self._directory, services=self._names).down()

    @contextmanager
    def away(self, name: str, *, empties: bool = False) -> Iterator[None]:
        """Stop one for the length of the block; with *empties* it comes back without its data."""
        one = LocalStack(self._directory, services=(name,))
        (one.reset if empties else one.down)()
        try:
            yield
        finally:
            one.up(owner_pid=os.getpid())

    @contextmanager
    def killed(self, name: str) -> Iterator[None]:
        """Kill one for the length of the block: its connections break, and nobody listens."""
        os.kill(self._pid(name), signal.SIGKILL)
        try:
            yield
        finally:
            LocalStack(self._directory, services=(name,)).up(owner_pid=os.getpid())

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Have one stand still: it keeps its connections and does not answer."""
        pid = self._pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def _pid(self, name: str) -> int:
        (status,) = LocalStack(self._directory, services=(name,)).status()
        assert status.pid is not None
        return status.pid
