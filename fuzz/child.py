"""One harness, driven by atheris in a process of its own, which libFuzzer ends.

`python -m fuzz.child NAME SECONDS LONGEST FOUND`

LONGEST is the most bytes of an input. FOUND is a folder: what raised is written there as `crash-…` by libFuzzer, and
what was slow as `slow-…`.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["perdure", "perdure_lab", "tomllib"]):
    from fuzz.harnesses import CORPUS, HARNESSES

MAX_SLOW = 8
"""Inputs that are kept to be measured without instrumentation."""

HANG_SECONDS = 20
"""Of one input; then libFuzzer calls it a hang."""


def main() -> None:
    name, seconds, longest, found = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
    harness = HARNESSES[name]
    slow: list[tuple[float, Path]] = []

    def run(data: bytes) -> None:
        begun = time.thread_time()
        harness.run(data)
        cost = time.thread_time() - begun
        if cost * 1000 > harness.max_milliseconds and (len(slow) < MAX_SLOW or cost > slow[0][0]):
            path = found / f"slow-{hashlib.sha256(data).hexdigest()[:16]}"
            path.write_bytes(data)
            slow.append((cost, path))
            slow.sort()
            if len(slow) > MAX_SLOW:
                slow.pop(0)[1].unlink(missing_ok=True)

    grown = found / "grown"
    grown.mkdir()
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={longest}",
        f"-timeout={HANG_SECONDS}",
        f"-artifact_prefix={found}/",
        "-len_control=20",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(grown), str(CORPUS / name)], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
