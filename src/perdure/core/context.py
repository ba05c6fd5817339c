"""What the parts of one tube's core share: the time, the state, the timers, and the actions so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.actions import StateChanged
from perdure.core.state import TRANSITIONS, Reason, State
from perdure.core.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.core.actions import Action
    from perdure.core.relay_troubles import RelayTroubles


class Context:
    __slots__ = ("actions", "now", "relay_troubles", "state", "timers")

    def __init__(self, now: float, relay_troubles: Callable[[], RelayTroubles]) -> None:
        self.now = now
        self.relay_troubles = relay_troubles
        """What is wrong with TURN servers now."""
        self.state = State.INITIALIZING
        self.timers = Timers()
        self.actions: list[Action] = []

    def advance(self, now: float) -> None:
        """Raises `ValueError` where `now` goes back."""
        if now < self.now:
            raise ValueError(f"time went back from {self.now} to {now}")
        self.now = now

    def take_actions(self) -> list[Action]:
        actions, self.actions = self.actions, []
        return actions

    def change(self, state: State, reason: Reason, detail: str = "") -> None:
        """The one place where the state changes."""
        before = self.state
        if state not in TRANSITIONS[before]:
            raise AssertionError(f"{before} to {state} is not in the table")
        self.state = state
        self.actions.append(StateChanged(before, state, reason, detail))
