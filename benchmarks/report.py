"""What the benchmarks print: tables in Markdown, line by line as the figures come, below the machine's load.

Run by `python -m benchmarks`, each tells it the same, and the rounds behind a figure: a line of JSON each, in the file
that `RECORDS` names.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

RECORDS = "PERDURE_BENCHMARK_RECORDS"


def verdict(*, is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def load_average() -> str:
    """Of the last minute. Read it before the work, whose own load it is otherwise."""
    return f"load average {os.getloadavg()[0]:.1f}"


def print_head(*columns: str) -> None:
    _print(columns)
    _print(["---"] * len(columns))
    _record(head=columns)


def print_row(*cells: str) -> None:
    _print(cells)
    _record(row=cells)


def measured(work: str, peer: str, unit: str, rounds: Sequence[float], *, less_is_better: bool) -> None:
    """The rounds of `work` through `peer`, for plots and comparisons."""
    _record(work=work, peer=peer, unit=unit, rounds=list(rounds), less_is_better=less_is_better)


def _print(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _record(**entry: object) -> None:
    if path := os.environ.get(RECORDS):
        with Path(path).open("a") as file:
            file.write(json.dumps(entry) + "\n")
