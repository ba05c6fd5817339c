"""Loaded by a run's Python programs whose clock is to jump: CLOCK_BOOTTIME as after a sleep of the machine.

A real sleep lets CLOCK_BOOTTIME run on and CLOCK_MONOTONIC stand. On SIGUSR1 the program's view of the former jumps
ahead by the seconds that the file `PERDURE_LAB_CLOCK` names.
"""

from __future__ import annotations

import os
import signal
import time

_real = time.clock_gettime
_ahead = 0.0


def _clock_gettime(clock: int) -> float:
    return _real(clock) + (_ahead if clock == time.CLOCK_BOOTTIME else 0.0)


def _jump(number: int, frame: object) -> None:
    global _ahead
    with open(os.environ["PERDURE_LAB_CLOCK"], encoding="ascii") as file:
        _ahead += float(file.read())


if "PERDURE_LAB_CLOCK" in os.environ:
    time.clock_gettime = _clock_gettime
    signal.signal(signal.SIGUSR1, _jump)
