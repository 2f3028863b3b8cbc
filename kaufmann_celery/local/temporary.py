"""A stack for the length of a `with` block."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from kaufmann_celery.local import guard
from kaufmann_celery.local.stack import NAMES, LocalStack


@contextmanager
def temporary_stack(services: Collection[str] = NAMES, directory: Path | str | None = None) -> Iterator[dict[str, str]]:
    """Run a stack for the length of a `with` block, yielding its settings; it cannot outlive this process.

    Without *directory* its data is in a temporary one that is deleted at the end; a given one is kept.
    """
    root = Path(directory) if directory else Path(tempfile.mkdtemp(prefix="kaufmann-"))
    if not directory:
        (root / guard.TEMPORARY).touch()
    stack = LocalStack(root, services=services)
    try:
        yield stack.up(owner_pid=os.getpid())
    finally:
        stack.down()
        if not directory:
            shutil.rmtree(root, ignore_errors=True)
