"""Waits for a tube's next change of state."""

from __future__ import annotations

import asyncio


class ChangeWaiters:
    """Those who wait. Idle, it holds nothing."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: tuple[asyncio.Future[None], ...] = ()

    async def next(self) -> None:
        """Wait until the next change. Cancelling this changes nothing."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters = (*self._waiters, waiter)
        try:
            await waiter
        finally:
            self._waiters = tuple(other for other in self._waiters if other is not waiter)

    def happened(self) -> None:
        """Wake all who wait."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
