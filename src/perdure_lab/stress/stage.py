"""What a stress test is given: its sizes, dice, and whom to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_lab.stress.results import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from perdure_lab.stress.sizes import Sizes

MOST_SHORTFALLS = 20
"""That are kept: a fault that shows a thousand times is one."""


class SkippedError(Exception):
    """The test cannot run on this machine; the text says why."""


class Stage:
    """Args:
    on_progress: hears what is being done, how much of it is done, and of how much.
    """

    def __init__(self, sizes: Sizes, dice: Random, on_progress: Callable[[str, float, float], None]) -> None:
        self.sizes = sizes
        self.dice = dice
        self.progress = on_progress
        self.measurements: list[Measurement] = []
        self.shortfalls: list[str] = []
        self.is_stopped = False
        """Whether the test shall tell what it has found so far, and end."""

    def measured(
        self, name: str, value: float, unit: str = "", *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        self.measurements.append(Measurement(name, value, unit, at_most, at_least))

    def expect(self, condition: bool, shortfall: str) -> None:
        """Note `shortfall` where `condition` does not hold; the test goes on."""
        if not condition and len(self.shortfalls) < MOST_SHORTFALLS and shortfall not in self.shortfalls:
            self.shortfalls.append(shortfall)
