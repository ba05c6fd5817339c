"""The tubes of a registry that were never connected yet: counted, and swept where they never begin."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

from perdure.core.state import Reason, State
from perdure.tube import clock

if TYPE_CHECKING:
    from perdure.managed_tube import ManagedTube


class SettingUp:
    """Tubes that are being set up. A timer sweeps while there are any; it keeps nobody alive.

    Args:
        stale_after: seconds after which one that never began to connect is closed.
    """

    def __init__(self, stale_after: float) -> None:
        self._stale_after = stale_after
        self._created_at: dict[ManagedTube, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._created_at)

    def add(self, tube: ManagedTube) -> None:
        self._created_at[tube] = clock()
        if self._timer is None:
            self._arm()

    def discard(self, tube: ManagedTube) -> None:
        """It is connected, or has ended."""
        self._created_at.pop(tube, None)

    def sweep(self) -> list[str]:
        """Close the stale ones; their ids."""
        stale_before = clock() - self._stale_after
        stale = [
            tube
            for tube, created_at in self._created_at.items()
            if created_at <= stale_before and tube.state is State.INITIALIZING
        ]
        for tube in stale:
            if tube.is_open:  # one's end may have led the application to end another
                tube.begin_to_end(Reason.STALE)
        return [tube.tube_id for tube in stale]

    def set_stale_after(self, seconds: float) -> None:
        self._stale_after = seconds
        if self._timer is not None:
            self._timer.cancel()
            self._arm()

    def close(self) -> None:
        """Sweep no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._stale_after / 2, _sweep, weakref.ref(self))

    def _sweep_by_timer(self) -> None:
        self._timer = None
        self.sweep()
        if self._created_at and self._timer is None:
            self._arm()


def _sweep(reference: weakref.ref[SettingUp]) -> None:
    if (setting_up := reference()) is not None:
        setting_up._sweep_by_timer()
