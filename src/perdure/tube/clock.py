"""The clock of every tube."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


def clock() -> float:
    """Seconds that never go back, and that run on during sleep where the system can tell (CLOCK_BOOTTIME)."""
    return _source()


@contextlib.contextmanager
def clock_from(source: Callable[[], float]) -> Iterator[None]:
    """While it lasts, the time of every tube of the process is that of `source`: a simulation's."""
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before


def _system_clock() -> float:
    return time.clock_gettime(_BOOTTIME) if _BOOTTIME is not None else time.monotonic()


_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)

_source = _system_clock
