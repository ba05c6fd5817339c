"""The clock of every tube."""

from __future__ import annotations

import time


def clock() -> float:
    """Seconds that never go back, and that run on during sleep where the system can tell (CLOCK_BOOTTIME)."""
    return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()


_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)
