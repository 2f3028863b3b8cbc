"""Progress on a terminal as a bar, elsewhere as a log line now and then."""

from __future__ import annotations

import logging
import sys

from kaufmann_celery.operations import progress as logging_of_progress
from kaufmann_celery.operations.progress import Progress, SaidNowAndThen, logged

_WIDTH = 30
_EVERY_S = 0.5


def shown(what: str, total: int) -> SaidNowAndThen:
    """Return what is to be told how many of *total* are done."""
    if sys.stderr.isatty():
        return SaidNowAndThen(total, _draw, every_s=_EVERY_S)
    logging.getLogger(logging_of_progress.__name__).setLevel(logging.INFO)
    return SaidNowAndThen(total, logged(what))


def _draw(progress: Progress) -> None:
    full = _WIDTH if progress.done >= progress.total else _WIDTH * progress.done // progress.total
    end = "\n" if progress.done >= progress.total else ""
    sys.stderr.write(f"\r\x1b[K[{'#' * full}{'-' * (_WIDTH - full)}] {progress}{end}")
    sys.stderr.flush()
