"""What an input costs, in milliseconds of the machine where the bounds were chosen.

CPU time of this thread is compared with that of a fixed piece of work, measured beside it: so neither a slower machine
nor other processes on it change the figure much.
"""

from __future__ import annotations

import time
from collections.abc import Callable

ROUNDS_OF_A_MILLISECOND = 12_000
"""Of `_work`, which took 1 ms on the machine where the bounds were chosen (Python 3.11, 2026)."""

ATTEMPTS = 5
"""The cheapest counts: what else happens to a process only adds."""


def milliseconds(call: Callable[[], None]) -> float:
    """What `call()` costs."""
    unit = min(_cpu_seconds(_work) for _ in range(ATTEMPTS))
    return min(_cpu_seconds(call) for _ in range(ATTEMPTS)) / unit


def _cpu_seconds(call: Callable[[], None]) -> float:
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


def _work() -> None:
    number = 0
    for _ in range(ROUNDS_OF_A_MILLISECOND):
        number = (number + 1) & 0xFFFF
