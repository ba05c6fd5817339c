"""`python -m fuzz [--seconds 60] [--longest 65536] [--jobs 1] [--only NAME]`: fuzz each harness.

The exit code is 1 where one broke.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.harnesses import HARNESSES, MAX_INPUT_BYTES
from fuzz.slowness import milliseconds

_measuring = threading.Lock()
"""One input at a time: some harnesses share a file."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each harness")
    parser.add_argument("--longest", type=int, default=MAX_INPUT_BYTES, help="bytes of an input; short ones run faster")
    parser.add_argument("--jobs", type=int, default=1, help="harnesses at the same time, a process each")
    parser.add_argument("--only", choices=HARNESSES, action="append", help="may be given again")
    parser.add_argument("--found", type=Path, default=Path("fuzz-found"), help="the folder for what is found")
    given = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install -e '.[fuzz]'", file=sys.stderr)
        return 2
    names = given.only or list(HARNESSES)
    with ThreadPoolExecutor(given.jobs) as pool:
        paths = pool.map(lambda name: fuzz(name, given.seconds, given.longest, given.found), names)
        found = [path for each in paths for path in each]
    if found:
        print(f"found {len(found)}: reproduce one with HARNESSES[NAME].run(data)")
    return 1 if found else 0


def fuzz(name: str, seconds: int, longest: int, kept: Path) -> list[Path]:
    """Fuzz one harness; the inputs that broke it, in the folder `kept`."""
    with tempfile.TemporaryDirectory(prefix="perdure-fuzz-") as folder:
        command = [sys.executable, "-m", "fuzz.child", name, str(seconds), str(longest), folder]
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        broken = [path for path in sorted(Path(folder).iterdir()) if path.is_file() and _is_broken(name, path)]
        done = next((line for line in child.stderr.splitlines() if "number_of_executed_units" in line), "")
        print(f"{name}: {done.rpartition(' ')[2] or 'no'} inputs in {seconds} s, {len(broken)} broke it", flush=True)
        if broken or child.returncode:
            print(child.stdout[-4000:], child.stderr[-4000:], sep="\n", file=sys.stderr)
        saved = []
        for path in broken:
            kept.mkdir(exist_ok=True)
            saved.append(Path(shutil.copy(path, kept / f"{name}-{path.name}")))
        return saved or ([kept] if child.returncode else [])


def _is_broken(name: str, path: Path) -> bool:
    """Whether what is slow under instrumentation is so without; anything else that is kept broke the harness."""
    if not path.name.startswith("slow-"):
        return True
    harness, data = HARNESSES[name], path.read_bytes()
    with _measuring:
        cost = milliseconds(lambda: harness.run(data))
    if cost > harness.max_milliseconds:
        print(f"{name}: {len(data)} bytes cost {cost:.1f} ms; {harness.max_milliseconds:g} are the most")
    return cost > harness.max_milliseconds


if __name__ == "__main__":
    sys.exit(main())
