"""Runs the commands of `kaufmann local` on their own."""

from __future__ import annotations

from kaufmann_celery.local.commands import local

if __name__ == "__main__":
    local(prog_name="python -m kaufmann_celery.local")
