"""Of a traceback, the frames that are the service's."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType

import celery

import kaufmann_celery

#: Where the code is that leads to the service's: this package's, and Celery's.
_LEADING = tuple(f"{Path(file).parent}{os.sep}" for file in (kaufmann_celery.__file__, celery.__file__))


def from_the_handler_on(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames that lead to the service's: they tell nothing, and take time to print.

    Whole where there are none of the service's.
    """
    own = trace
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_LEADING):
        own = own.tb_next
    return own or trace
