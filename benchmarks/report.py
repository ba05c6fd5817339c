"""What the benchmarks print: tables in Markdown, line by line as the figures come, below the machine's load."""

from __future__ import annotations

import os


def verdict(*, is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def load_average() -> str:
    """Of the last minute. Read it before the work, whose own load it is otherwise."""
    return f"load average {os.getloadavg()[0]:.1f}"


def print_head(*columns: str) -> None:
    print_row(*columns)
    print_row(*["---"] * len(columns))


def print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)
