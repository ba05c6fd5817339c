"""What this process holds of the machine: memory, descriptors, threads, tasks, and the engine's factories."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import psutil
import wrtc

if TYPE_CHECKING:
    from perdure_lab.stress.stage import Stage

RETURN_TIMEOUT = 20.0
"""Seconds for what was closed to be gone: the engine's factory goes up to 5 s after its last connection."""

_LOOK_INTERVAL = 0.25


@dataclass(frozen=True, slots=True)
class Holdings:
    """At one moment."""

    resident_bytes: int
    descriptors: int
    threads: int
    """The engine's own too."""
    tasks: int
    factories: int
    """Of the engine; each has three threads."""

    def exceeds(self, other: Holdings) -> list[str]:
        """What is more than in `other`, memory left out, in words."""
        names = ("descriptors", "threads", "tasks", "factories")
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        return [f"{name}: {now}, and {before} before" for name, now, before in pairs if now > before]


def holdings() -> Holdings:
    """Now."""
    me = psutil.Process()
    tasks, factories = len(asyncio.all_tasks()), wrtc._alive_factories()
    return Holdings(me.memory_info().rss, me.num_fds(), me.num_threads(), tasks, factories)


async def at_rest() -> Holdings:
    """What is held once the engine has let go of what it did before."""
    give_up_at = monotonic() + RETURN_TIMEOUT
    while holdings().factories and monotonic() < give_up_at:
        gc.collect()
        await asyncio.sleep(_LOOK_INTERVAL)
    return holdings()


async def returned(before: Holdings, timeout: float = RETURN_TIMEOUT) -> Holdings:
    """Wait until there is no more than `before`, or `timeout` seconds have passed; what there is then."""
    give_up_at = monotonic() + timeout
    while True:
        gc.collect()
        now = holdings()
        if not now.exceeds(before) or monotonic() > give_up_at:
            return now
        await asyncio.sleep(_LOOK_INTERVAL)


async def expect_returned(stage: Stage, before: Holdings, timeout: float = RETURN_TIMEOUT) -> Holdings:
    """That no more is held than `before`."""
    now = await returned(before, timeout)
    for excess in now.exceeds(before):
        stage.expect(False, f"{timeout:.0f} s after everything was closed there were more {excess}")
    return now
