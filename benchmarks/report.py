"""What the benchmarks print: tables in Markdown, line by line as the figures come, below the machine's load.

Run by `python -m benchmarks`, each tells it the same, and the rounds behind a figure: a line of JSON each, in the file
that `RECORDS` names.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from perdure.cli.running import try_to_write

RECORDS = "PERDURE_BENCHMARK_RECORDS"

MISSED = 3
"""Exit code of a benchmark that ran to its end, and missed what was asked for: its figures are whole. Python's own
exceptions end with 1, argparse with 2."""


def verdict(*, is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def writable(text: str) -> Path:
    """A file for figures, as `argparse` takes it: that it can be written is seen before hours of work. Its folder has
    to be there."""
    if not text:
        raise argparse.ArgumentTypeError("a file name is missing")
    try:
        try_to_write(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be written: {error.strerror}") from error
    return Path(text)


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


def figure(value: float) -> str:
    """Four significant digits, never with an exponent: `0.3374`, `761.4`, `18,470`."""
    if abs(value) >= 1000:
        return f"{float(f'{value:.4g}'):,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-4 else f"{value:.7f}".rstrip("0").rstrip(".")


def spread(values: Sequence[float], form: str = "", unit: str = "") -> str:
    """Median, lowest and highest, each in `form`, or as `figure` has it."""
    three = (min(values), statistics.median(values), max(values))
    low, median, high = (format(each, form) if form else figure(each) for each in three)
    return f"{median}{unit and f' {unit}'} ({low} to {high})"


def print_beside_perdure(work: str, unit: str, found: Mapping[str, Sequence[float]], *, less_is_better: bool) -> None:
    """A row for each peer, by whose name the rounds are: its figures, and perdure's as a ratio to them."""
    ours = found.get("perdure", ())
    for peer, values in found.items():
        measured(work, peer, unit, values, less_is_better=less_is_better)
        ratios = [mine / theirs for mine, theirs in zip(ours, values, strict=False)]
        print_row(work, peer, spread(values, unit=unit), spread(ratios, ".2f") if ratios and peer != "perdure" else "")


def _print(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _record(**entry: object) -> None:
    if path := os.environ.get(RECORDS):
        with Path(path).open("a") as file:
            file.write(json.dumps(entry) + "\n")
