"""What the benchmarks print: tables in Markdown, line by line as the figures come, below the machine's load.

Run by `python -m benchmarks`, each tells it the same, and the rounds behind a figure: a line of JSON each, in the file
that `RECORDS` names.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

RECORDS = "PERDURE_BENCHMARK_RECORDS"

MISSED = 3
"""Exit code of a benchmark that ran to its end, and missed what was asked for: its figures are whole. Python's own
exceptions end with 1, argparse with 2."""


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


def spread(values: Sequence[float], form: str, unit: str = "") -> str:
    """Median, lowest and highest, each in `form`."""
    low, median, high = (format(each, form) for each in (min(values), statistics.median(values), max(values)))
    return f"{median}{unit and f' {unit}'} ({low} to {high})"


def print_beside_perdure(
    work: str, unit: str, found: Mapping[str, Sequence[float]], form: str, *, less_is_better: bool
) -> None:
    """A row for each peer, by whose name the rounds are: its figures, and perdure's as a ratio to them."""
    ours = found.get("perdure", ())
    for peer, values in found.items():
        measured(work, peer, unit, values, less_is_better=less_is_better)
        ratios = [mine / theirs for mine, theirs in zip(ours, values, strict=False)]
        print_row(work, peer, spread(values, form, unit), spread(ratios, ".2f") if ratios and peer != "perdure" else "")


def _print(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _record(**entry: object) -> None:
    if path := os.environ.get(RECORDS):
        with Path(path).open("a") as file:
            file.write(json.dumps(entry) + "\n")
