"""Tells systemd that a command is ready, alive, and stopping: sd_notify(3), for units of `Type=notify`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket

WATCHDOG_SHARE = 3
"""The watchdog hears of the command so many times in its interval; systemd.service(5) has twice."""


def tell_ready() -> None:
    """What the command is for can be used, or will be as soon as the other end is there."""
    _tell("READY=1")


def tell_stopping() -> None:
    """The command has begun to end."""
    _tell("STOPPING=1")


async def feed_watchdog() -> None:
    """For ever, as long as the event loop turns; at once over where there is no watchdog for this process."""
    interval, own = os.environ.get("WATCHDOG_USEC", ""), str(os.getpid())
    if not interval.isdigit() or not int(interval) or os.environ.get("WATCHDOG_PID", own) != own:
        return
    while True:
        _tell("WATCHDOG=1")
        await asyncio.sleep(int(interval) / 1e6 / WATCHDOG_SHARE)


def _tell(state: str) -> None:
    if not (path := os.environ.get("NOTIFY_SOCKET", "")):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
