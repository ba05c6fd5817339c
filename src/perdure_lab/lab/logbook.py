"""What perdure's logs say of a run: states and decisions, on the traffic's clock."""

from __future__ import annotations

import time
from typing import Literal

from perdure_lab.lab.children import LogLine
from perdure_lab.scenario.results import ActionTaken, StateSpan

Role = Literal["client", "gateway"]


class Logbook:
    """Lines come with Unix seconds; `begin` says when the traffic began."""

    def __init__(self) -> None:
        self.state = ""
        """The client's, now."""
        self._began_at = time.time()
        self._states: list[StateSpan] = []
        self._actions: list[ActionTaken] = []

    def begin(self) -> None:
        self._began_at = time.time()

    def heard(self, role: Role, line: LogLine) -> None:
        logged_at = line.get("time")
        at = float(logged_at) if isinstance(logged_at, int | float) else time.time()
        match line.get("event"):
            case "tube-state" if role == "client":
                self.state = str(line.get("after"))
                self._states.append(StateSpan(at, self.state))
            case "decision":
                words = (str(line.get(key, "")) for key in ("trigger", "action", "why"))
                self._actions.append(ActionTaken(at, role, *words))

    @property
    def states(self) -> tuple[StateSpan, ...]:
        """From the beginning of the traffic on; the first is the state that it found."""
        before = [span.state for span in self._states if span.at <= self._began_at]
        first = [StateSpan(0.0, before[-1])] if before else []
        later = [
            StateSpan(round(span.at - self._began_at, 4), span.state)
            for span in self._states
            if span.at > self._began_at
        ]
        return (*first, *later)

    @property
    def actions_taken(self) -> tuple[ActionTaken, ...]:
        return tuple(
            ActionTaken(round(each.at - self._began_at, 4), each.side, each.trigger, each.action, each.reason)
            for each in self._actions
            if each.at > self._began_at
        )
