"""All benchmarks, one after the other, and what became of the figures.

    python -m benchmarks [--only PART …] [--quick] [--json FILE]
    python -m benchmarks compare BEFORE.json AFTER.json

A run writes its figures to FILE (default: build/benchmarks.json), and, unless it is quick, its tables to
benchmarks/README.md and its plots to docs/figures. `compare` says what is beyond noise, and exits with 1 where
anything is worse.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import results
from benchmarks.report import RECORDS, load_average, print_head, print_row

PARTS: dict[str, tuple[list[str], list[str]]] = {
    "small": ([], ["--rounds", "3", "--seconds", "0.5"]),
    "throughput": (["--processes", "2", "--rounds", "5"], ["--processes", "2", "--mib", "64"]),
    "latency": (["--processes", "2", "--rounds", "5"], ["--processes", "2", "--round-trips", "200"]),
    "databases": ([], ["--rounds", "1", "--seconds", "1"]),
    "slow_link": ([], ["--rounds", "1", "--round-trips", "20"]),
    "streams": ([], ["--rounds", "3", "--round-trips", "100"]),
    "frames": ([], ["--rounds", "3"]),
    "tubes": ([], ["--tubes", "10", "50", "--seconds", "5"]),
    "footprint": ([], ["--runs", "3"]),
    "managers": ([], ["memory", "--managers", "500"]),
    "simulator": ([], ["--rounds", "1"]),
    "recovery": ([], ["--kills", "10"]),
    "hostile": ([], ["--seconds", "3", "open", "ping"]),
    "turn_rotation": ([], ["--seconds", "90", "--lifetime", "20"]),
}
"""Each with its arguments, and those of a quick run."""

PACKAGES = ("perdure", "wrtc", "uvloop", "keeper-pam-webrtc-rs", "iroh")


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def run_part(name: str, arguments: list[str]) -> results.Part | None:
    """`None`: it failed, and has said why."""
    command = ["-m", f"benchmarks.{name}", *arguments]
    part = results.Part(" ".join(["python3", *command]), load_average())
    print(f"\n# {part.command}\n", flush=True)
    with tempfile.NamedTemporaryFile("r") as records:
        code = subprocess.run(
            [sys.executable, *command], env=os.environ | {RECORDS: records.name}, check=False
        ).returncode
        for line in records:
            part.add(line)
    if code:
        print(f"\n{name} ended with {code}", file=sys.stderr, flush=True)
    return part if part.rows else None


def run(names: list[str], file: Path, *, is_quick: bool) -> int:
    made = results.Run(time.strftime("%Y-%m-%d"), versions())
    for name in names:
        usual, quick = PARTS[name]
        part = run_part(name, quick if is_quick else usual)
        if part is not None:
            made.parts[name] = part
        made.write(file)
    print(f"\nfigures in {file}")
    if not is_quick:
        results.README.write_text(results.update_readme(made, results.README.read_text()))
        results.FIGURES.mkdir(exist_ok=True)
        for name, part in made.parts.items():
            if part.figures:
                (results.FIGURES / f"{name}.svg").write_text(results.plot(part.figures))
        print(f"tables in {results.README}, plots in {results.FIGURES}")
    return 0 if len(made.parts) == len(names) else 1


def compare(before: Path, after: Path) -> int:
    rows = results.compare(results.read(before), results.read(after))
    print_head("work", "through", before.name, after.name, "ratio of medians", "")
    for row in rows:
        print_row(*row)
    return int(any(row[-1] == "WORSE" for row in rows))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if sys.argv[1:2] == ["compare"]:
        parser.add_argument("verb", choices=["compare"])
        parser.add_argument("before", type=Path)
        parser.add_argument("after", type=Path)
        arguments = parser.parse_args()
        try:
            return compare(arguments.before, arguments.after)
        except ValueError as error:
            parser.error(str(error))
    parser.add_argument(
        "--only", nargs="+", default=list(PARTS), choices=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--quick", action="store_true", help="some minutes in all; for a look, not for README.md")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks.json"), metavar="FILE")
    arguments = parser.parse_args()
    try:
        return run(arguments.only, arguments.json, is_quick=arguments.quick)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
