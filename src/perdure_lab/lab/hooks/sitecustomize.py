"""Loaded by a run's Python programs: what cannot be done to them from outside happens in them, when a signal says so.

SIGUSR1: CLOCK_BOOTTIME jumps ahead by the seconds that the file `PERDURE_LAB_CLOCK` names, as after a sleep of the
machine. A real one lets that clock run on and CLOCK_MONOTONIC stand.

SIGUSR2, where `PERDURE_LAB_ROTATE` is set: perdure's tubes begin another carrier beside the one in use, as when TURN
credentials are renewed.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

_real = time.clock_gettime
_ahead = 0.0


def _clock_gettime(clock: int) -> float:
    return _real(clock) + (_ahead if clock == time.CLOCK_BOOTTIME else 0.0)


def _jump(number: int, frame: object) -> None:
    global _ahead
    with open(os.environ["PERDURE_LAB_CLOCK"], encoding="ascii") as file:
        _ahead += float(file.read())


def _rotate(number: int, frame: object) -> None:
    import asyncio
    import threading

    # Not here: to look at each object of the program takes 50 ms, which would pass for a silence.
    threading.Thread(target=_rebuild_all, args=(asyncio.get_running_loop(),)).start()


def _rebuild_all(loop: asyncio.AbstractEventLoop) -> None:
    import gc

    from perdure.manager import TunnelConnectionManager

    for each in gc.get_objects():
        if isinstance(each, TunnelConnectionManager) and each.is_open:
            loop.call_soon_threadsafe(each.rebuild)


if "PERDURE_LAB_CLOCK" in os.environ:
    time.clock_gettime = _clock_gettime
    signal.signal(signal.SIGUSR1, _jump)
if "PERDURE_LAB_ROTATE" in os.environ:
    signal.signal(signal.SIGUSR2, _rotate)
