"""What commands write, tables and JSON, and the options that say which."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

as_json_option = click.option("--json", "as_json", is_flag=True, help="As JSON.")
execute_option = click.option("--execute", is_flag=True, help="Do it; without it only the plan is shown.")


def json_text(value: Any) -> str:
    """Return *value* as JSON that people can read."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return the rows below their head, in columns."""
    texts = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in texts
    )
