"""What `perdure ticket list` and `perdure clients list` print: a table for people, JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from perdure.cli.running import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def say_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as they must be."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def say_json(value: object) -> None:
    say(json.dumps(value, indent=2))


def short_time(at: int | None) -> str:
    """Unix seconds as a cell; `None` or 0: there is no such time."""
    from perdure.ticket import instant_text

    return instant_text(at) if at else "-"


def json_time(at: int | None) -> str | None:
    """Unix seconds as RFC 3339 has them."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None
