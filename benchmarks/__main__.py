"""All benchmarks, one after the other, and what became of the figures.

    python -m benchmarks [--only PART …] [--quick] [--json FILE]
    python -m benchmarks compare BEFORE.json AFTER.json

A run writes its figures to FILE (default: build/benchmarks.json), and, unless it is quick, its tables to
benchmarks/README.md and its plots to docs/figures. Of a benchmark that failed nothing is kept. It exits with 1 where
one failed or missed what was asked for. `compare` says what is beyond noise, and exits with 1 where anything is worse.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import installed, results
from benchmarks.report import MISSED, RECORDS, load_average, print_head, print_row, writable

DEFAULT_JSON = Path("build/benchmarks.json")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A module of this package."""

    usual: list[str]
    """Its arguments."""
    quick: list[str]
    uses: tuple[str, ...] = ("wrtc", "event loop")
    """Of `installed.versions()`: what stands above its table."""
    has_plot: bool = False
    """That docs/benchmarks.md shows."""


PEERS = ("wrtc", "uvloop", "OpenSSH", "keeper-pam-webrtc-rs", "iroh")

PARTS: dict[str, Benchmark] = {
    "small": Benchmark([], ["--rounds", "3", "--seconds", "0.5"], PEERS, has_plot=True),
    "throughput": Benchmark(
        ["--processes", "2", "--rounds", "5"], ["--processes", "2", "--mib", "64"], PEERS, has_plot=True
    ),
    "latency": Benchmark(
        ["--processes", "2", "--rounds", "5"], ["--processes", "2", "--round-trips", "200"], PEERS, has_plot=True
    ),
    "databases": Benchmark(
        [], ["--rounds", "1", "--seconds", "1"], ("wrtc", "event loop", "OpenSSH", "PostgreSQL", "Redis")
    ),
    "slow_link": Benchmark(
        [], ["--rounds", "1", "--round-trips", "20"], ("wrtc", "event loop", "OpenSSH", "wireguard-go")
    ),
    "streams": Benchmark([], ["--rounds", "3", "--round-trips", "100"], ("wrtc",)),
    "frames": Benchmark([], ["--rounds", "3"], ()),
    "tubes": Benchmark(["--rounds", "3"], ["--tubes", "10", "50", "--seconds", "5"], has_plot=True),
    "footprint": Benchmark([], ["--runs", "3"]),
    "managers": Benchmark([], ["memory", "--managers", "500"], ("wrtc",)),
    "simulator": Benchmark([], ["--rounds", "1"], ()),
    "recovery": Benchmark([], ["--kills", "10"]),
    "hostile": Benchmark([], ["--seconds", "3", "open", "ping"]),
    "turn_rotation": Benchmark([], ["--seconds", "90", "--lifetime", "20"], ("wrtc", "coturn")),
}


def run_part(command: Sequence[str], shown: str, with_versions: str = "") -> results.Part | None:
    """The figures of a benchmark that ran to its end; what one that failed had found by then is not told from a whole
    table, and does not count. `None`: it failed, and has said why."""
    part = results.Part(shown, load_average(), versions=with_versions)
    print(f"\n# {part.command}\n", flush=True)
    with tempfile.NamedTemporaryFile("r") as records:
        code = subprocess.run(command, env=os.environ | {RECORDS: records.name}, check=False).returncode
        for line in records:
            part.add(line)
    part.is_met = code != MISSED
    if code in (0, MISSED):
        return part
    print(f"\n{part.command} ended with {code}: its figures are not kept", file=sys.stderr, flush=True)
    return None


def run(plan: Mapping[str, Sequence[str]], made: results.Run, file: Path) -> int:
    """Each benchmark's module with its arguments, by its name; the exit code."""
    for name, arguments in plan.items():
        words = ["-m", f"benchmarks.{name}", *arguments]
        with_versions = installed.shown(made.versions, PARTS[name].uses)
        part = run_part([sys.executable, *words], " ".join(["python3", *words]), with_versions)
        if part is not None:
            made.parts[name] = part
        made.write(file)
    print(f"\nfigures in {file}")
    failed = [name for name in plan if name not in made.parts]
    missed = [name for name, part in made.parts.items() if not part.is_met]
    for names, what in ((failed, "failed"), (missed, "missed what was asked for")):
        if names:
            print(f"{', '.join(names)} {what}", file=sys.stderr)
    return 1 if failed or missed else 0


def publish(made: results.Run, readme: Path, figures: Path) -> None:
    """The tables and plots of the parts that `made` has; of one that failed the old ones stay."""
    readme.write_text(results.update_readme(made, readme.read_text()))
    figures.mkdir(exist_ok=True)
    for name, part in made.parts.items():
        if PARTS[name].has_plot:
            (figures / f"{name}.svg").write_text(results.plot(part.figures))
    print(f"tables in {readme}, plots in {figures}")


def compare(before: Path, after: Path) -> int:
    rows = results.compare(results.read(before), results.read(after))
    if not rows:
        print(f"{before} and {after} have no figure in common", file=sys.stderr)
        return 1
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
    parser.add_argument("--json", type=writable, metavar="FILE", help=f"(default: {DEFAULT_JSON})")
    arguments = parser.parse_args()
    if (file := arguments.json) is None:
        DEFAULT_JSON.parent.mkdir(exist_ok=True)
        file = DEFAULT_JSON
    plan = {name: PARTS[name].quick if arguments.quick else PARTS[name].usual for name in arguments.only}
    made = results.Run(time.strftime("%Y-%m-%d"), installed.versions())
    try:
        code = run(plan, made, file)
    except KeyboardInterrupt:
        return 130
    if not arguments.quick and made.parts:
        publish(made, results.README, results.FIGURES)
    return code


if __name__ == "__main__":
    sys.exit(main())
