"""Loaded by a run's Python programs: what cannot be done to them from outside happens in them, when a signal says so.

SIGUSR1: CLOCK_BOOTTIME jumps ahead by the seconds that the file `PERDURE_LAB_CLOCK` names, as after a sleep of the
machine. A real one lets that clock run on and CLOCK_MONOTONIC stand.

SIGUSR2, where `PERDURE_LAB_ROTATE` is set: perdure's tubes begin another carrier beside the one in use, as when TURN
credentials are renewed.

What fails here is a line of JSON on standard error, whose event is `lab-hook-failed`; it fails the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from perdure.manager import TunnelConnectionManager

_real = time.clock_gettime
_ahead = 0.0


def open_managers() -> list[TunnelConnectionManager]:
    """Of every tube of this program.

    By each object's type: `isinstance` asks the object itself, and a proxy of one that is gone raises then.
    """
    import gc

    from perdure.manager import TunnelConnectionManager

    found = [each for each in gc.get_objects() if issubclass(type(each), TunnelConnectionManager)]
    return [manager for manager in found if manager.is_open]


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    """An error inside is written for the lab, in one piece: the program's log may be written at the same time."""
    import json

    try:
        yield
    except Exception as error:
        line = {"event": "lab-hook-failed", "what": what, "error": f"{type(error).__name__}: {error}"}
        os.write(2, f"{json.dumps(line)}\n".encode())


def _clock_gettime(clock: int) -> float:
    return _real(clock) + (_ahead if clock == time.CLOCK_BOOTTIME else 0.0)


def _jump(number: int, frame: object) -> None:
    global _ahead
    with _told("the clock's jump"), open(os.environ["PERDURE_LAB_CLOCK"], encoding="ascii") as file:
        _ahead += float(file.read())


def _rotate(number: int, frame: object) -> None:
    import asyncio
    import threading

    with _told("rotate"):
        # Not here: to look at each object of the program takes 50 ms, which would pass for a silence.
        threading.Thread(target=_rebuild_all, args=(asyncio.get_running_loop(),)).start()


def _rebuild_all(loop: asyncio.AbstractEventLoop) -> None:
    with _told("rotate"):
        managers = open_managers()
        if not managers:
            raise LookupError("there is no open tube")
        for each in managers:
            loop.call_soon_threadsafe(_rebuild, each)


def _rebuild(manager: TunnelConnectionManager) -> None:
    with _told("rotate"):
        manager.rebuild()


if "PERDURE_LAB_CLOCK" in os.environ:
    time.clock_gettime = _clock_gettime
    signal.signal(signal.SIGUSR1, _jump)
if "PERDURE_LAB_ROTATE" in os.environ:
    signal.signal(signal.SIGUSR2, _rotate)
