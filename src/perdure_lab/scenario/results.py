"""What a run in the lab or the simulator saw: the facts that the report, the JSON file and the page are made from.

Instants are seconds since the run's traffic began. "up" is client to gateway, "down" gateway to client.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from perdure_lab.scenario.expectation import SHORTEST_LIMIT, Expectation

if TYPE_CHECKING:
    from perdure.core.decision import RecoveryAction
    from perdure_lab.scenario.model import Scenario

Direction = Literal["up", "down"]

SET_UP = "set-up"
"""The trigger of a decision that recovers nothing: a tube's first carrier."""

SILENCE_FLOOR = SHORTEST_LIMIT
"""Seconds: shorter pauses are not kept. The sources write every 10 ms, and a busy machine is late by some more."""


@dataclass(frozen=True, slots=True)
class NetworkEvent:
    """A step of the scenario, when it was applied."""

    at: float
    text: str
    measured: bool
    took: float = 0.0
    """Seconds that the lab needed to apply it; `at` is its end."""

    @property
    def began_at(self) -> float:
        return self.at - self.took


@dataclass(frozen=True, slots=True)
class StateSpan:
    """The client's tube is in `state` from `at` on."""

    at: float
    state: str


@dataclass(frozen=True, slots=True)
class ActionTaken:
    """A decision of the policy."""

    at: float
    side: Literal["client", "gateway"]
    trigger: str
    action: str
    reason: str


@dataclass(frozen=True, slots=True)
class Silence:
    """No byte of one connection was delivered in `direction`; of overlapping ones the longest."""

    began_at: float
    ended_at: float
    direction: Direction
    event: int | None = None
    """Index in `RunResult.events` of the measured event that it belongs to, see `attribute`."""
    ended: bool = True
    """A byte ended it; otherwise the end of the run did."""

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at


@dataclass(frozen=True, slots=True)
class Throughput:
    """Bytes a second delivered, one value each `bin_seconds` from the beginning on."""

    bin_seconds: float
    up: tuple[float, ...]
    down: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a measured event cost one direction."""

    event: int
    direction: Direction
    silence: float
    """Seconds without a byte, the longest that belongs to the event, or that it happened in; 0 where none reached
    `SILENCE_FLOOR`."""
    after: float
    """Seconds from the event's end to the first byte after that silence; 0 without a silence."""
    recovered: bool
    """Bytes came again before the run ended."""


@dataclass(frozen=True, slots=True)
class RunResult:
    scenario: str
    subject: str
    """"perdure", or the peer's name."""
    seed: int
    seconds: float
    impairment: str
    """How delay and loss were made: "none", or "userspace": by `perdure_lab.lab.forwarder`, or "simulated"."""
    events: tuple[NetworkEvent, ...]
    states: tuple[StateSpan, ...]
    actions_taken: tuple[ActionTaken, ...]
    silences: tuple[Silence, ...]
    throughput: Throughput
    connections: int
    connections_kept: int
    bytes_sent: int
    bytes_lost: int
    bytes_wrong: int
    problem: str | None = None
    """Why the run could not be made, or not to its end."""

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Per measured event, and "up" before "down"."""
        return tuple(
            self._outcome(index, direction)
            for index, event in enumerate(self.events)
            if event.measured
            for direction in _DIRECTIONS
        )

    def decided(self, action: RecoveryAction) -> int:
        """How often either side decided that, setting up not counted."""
        return sum(each.action.lower() == action.value.lower() for each in self.actions_taken if each.trigger != SET_UP)

    @property
    def losses(self) -> tuple[str, ...]:
        """What must never happen and did, for a person; empty: nothing was lost."""
        found = [self.problem] if self.problem else []
        if self.bytes_sent and self.connections_kept < self.connections:  # a run not made had none to drop
            found.append(f"{self.connections - self.connections_kept} of {self.connections} connections dropped")
        if self.bytes_lost:
            found.append(f"{self.bytes_lost:,} bytes lost")
        if self.bytes_wrong:
            found.append(f"{self.bytes_wrong:,} bytes wrong")
        return tuple(found)

    def _outcome(self, index: int, direction: Direction) -> Outcome:
        event = self.events[index]
        own = [
            each
            for each in self.silences
            if each.direction == direction
            and (each.event == index or (each.began_at <= event.at and event.began_at < each.ended_at))
        ]
        longest = max(own, key=lambda each: each.seconds, default=None)
        if longest is None:
            return Outcome(index, direction, 0.0, 0.0, recovered=True)
        after = max(0.0, longest.ended_at - event.at)
        return Outcome(index, direction, longest.seconds, after, all(each.ended for each in own))


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of `count` samples, in seconds; nearest rank."""

    count: int
    p50: float
    p95: float
    worst: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a report, for a person: of one run, counted from 1, or of all of them."""

    text: str
    run: int | None = None

    def __str__(self) -> str:
        return self.text if self.run is None else f"run {self.run}: {self.text}"


@dataclass(frozen=True, slots=True)
class ScenarioFacts:
    name: str
    title: str
    text: str
    seconds: float
    expectation: Expectation
    settings_reason: str = ""
    """Why the scenario changes perdure's settings, such as what it accelerates; empty: it does not."""

    @classmethod
    def of(cls, scenario: Scenario) -> ScenarioFacts:
        return cls(
            scenario.name,
            scenario.title,
            scenario.text,
            scenario.seconds,
            scenario.expectation,
            scenario.settings_reason,
        )


@dataclass(frozen=True, slots=True)
class ScenarioReport:
    """Every run of one scenario with one subject."""

    scenario: ScenarioFacts
    runs: tuple[RunResult, ...]

    @property
    def losses(self) -> tuple[Finding, ...]:
        """What must never happen and did, with the run that it happened in."""
        return tuple(Finding(loss, number) for number, run in enumerate(self.runs, 1) for loss in run.losses)


def quantiles(samples: Sequence[float]) -> Quantiles | None:
    """Of at least one sample; `None` without."""
    if not samples:
        return None
    ordered = sorted(samples)

    def rank(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    return Quantiles(len(ordered), rank(0.5), rank(0.95), ordered[-1])


def attribute(silences: Sequence[Silence], events: Sequence[NetworkEvent]) -> tuple[Silence, ...]:
    """The silences, each with the measured event that is nearest to its beginning, among those begun before its end.

    An event lasts from the beginning of its step to the step's end: what falls silent in between is its doing.
    """
    measured = [(index, event) for index, event in enumerate(events) if event.measured]

    def nearest(silence: Silence) -> int | None:
        began_at = silence.began_at
        begun = [
            (max(event.began_at - began_at, began_at - event.at, 0.0), index)
            for index, event in measured
            if event.began_at < silence.ended_at
        ]
        return min(begun)[1] if begun else None

    return tuple(Silence(each.began_at, each.ended_at, each.direction, nearest(each), each.ended) for each in silences)


_DIRECTIONS: tuple[Direction, ...] = ("up", "down")
