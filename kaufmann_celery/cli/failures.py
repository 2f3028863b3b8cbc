"""What a command exits with, and the line it leaves on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from kaufmann_celery.errors import ConfigError, KaufmannError, UnavailableError

#: Failed, or found a fault.
FAILED = 1
#: Wrong usage or settings.
USAGE = 2
#: A service does not answer (EX_UNAVAILABLE of sysexits.h, as Celery's own commands have it).
UNAVAILABLE = 69


@contextmanager
def reported() -> Iterator[None]:
    """End the command with a message and an exit code where one of our errors is raised."""
    try:
        yield
    except KaufmannError as error:
        raise failure(str(error), exit_code_of(error)) from error


def failure(message: str, exit_code: int = FAILED) -> click.ClickException:
    """Return the exception that ends a command with this message and exit code."""
    return _Failure(message, exit_code)


class _Failure(click.ClickException):
    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it from the instance


def exit_code_of(error: KaufmannError) -> int:
    """Return the exit code that says what kind of error it is."""
    if isinstance(error, ConfigError):
        return USAGE
    if isinstance(error, UnavailableError) or isinstance(error.__cause__, UnavailableError):
        return UNAVAILABLE
    return FAILED
