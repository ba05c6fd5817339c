"""Who hears of what a tube's core decides."""

from __future__ import annotations

from typing import Protocol

from perdure.core.actions import KeepAlive, StateChanged, WarnOfTimeout
from perdure.core.decision import Decision

Told = StateChanged | Decision | KeepAlive | WarnOfTimeout
"""What the application hears of."""


class TubeListener(Protocol):
    """The tube that a driver belongs to. An object, not a function: a bound method costs each tube 64 bytes."""

    def told(self, action: Told) -> None:
        """In the order of the core's decisions."""
