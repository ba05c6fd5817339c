"""One run as the page draws it: throughput in small, whole numbers, and everything that happened in order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import median
from typing import Literal, TypedDict

from perdure_lab.scenario.results import RunResult

BIN_SECONDS = 0.05
"""A bin of the drawing, where the run is short enough for it."""

MOST_BINS = 1200
"""Of a direction. About a pixel each on a wide screen; more would only make the page large."""

LEVELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
"""A bin's height is one character: 0 only where no byte came."""

HIGHEST_RATE = 3.0
"""Times the run's steady rate, where the drawing is cut off: what waited out a silence comes as a burst, beside which
the rest would be a flat line."""


class Timeline(TypedDict):
    """What `chart/timeline.js` reads. Instants and durations are seconds, rates bytes a second."""

    seconds: float
    bin: float
    unit: float
    """Bytes a second of one level."""
    up: str
    down: str
    states: list[tuple[float, str]]
    events: list[tuple[float, str]]
    silences: list[tuple[float, float, str]]


@dataclass(frozen=True, slots=True)
class Happening:
    """A line of what happened in a run."""

    at: float
    kind: Literal["network", "decision", "state"]
    text: str
    event: int | None = None
    """The number of the network event, as the drawing shows it; the first is 1."""


def timeline(run: RunResult) -> Timeline:
    width = run.throughput.bin_seconds
    factor = max(1, round(BIN_SECONDS / width), math.ceil(len(run.throughput.up) / MOST_BINS))
    up, down = (_wider(values, factor) for values in (run.throughput.up, run.throughput.down))
    flowing = [value for value in (*up, *down) if value > 0]
    unit = max(1.0, float(round(HIGHEST_RATE * median(flowing) / (len(LEVELS) - 1)))) if flowing else 1.0
    return Timeline(
        seconds=round(run.seconds, 3),
        bin=round(width * factor, 6),
        unit=unit,
        up=_drawn(up, unit),
        down=_drawn(down, unit),
        states=[(round(span.at, 3), span.state.lower()) for span in run.states],
        events=[(round(event.at, 3), event.text) for event in run.events],
        silences=[(round(each.began_at, 3), round(each.ended_at, 3), each.direction) for each in run.silences],
    )


def happenings(run: RunResult) -> list[Happening]:
    """In order; a decision that was taken again and again is one line."""
    network = [Happening(each.began_at, "network", each.text, number) for number, each in enumerate(run.events, 1)]
    states = [Happening(each.at, "state", each.state.upper()) for each in run.states]
    decisions = [
        Happening(each.at, "decision", f"{each.side}: {each.action}, because {each.reason} ({each.trigger})")
        for each in run.actions_taken
    ]
    # Of one instant: first what the network did, then what was decided, then what came of it.
    ordered = sorted([*network, *decisions, *states], key=lambda each: each.at)
    lines = []
    for _, group in groupby(ordered, key=lambda each: (each.kind, each.text)):
        same = list(group)
        times = f", {len(same)} times" if len(same) > 1 else ""
        lines.append(Happening(same[0].at, same[0].kind, same[0].text + times, same[0].event))
    return lines


def _wider(values: Sequence[float], factor: int) -> list[float]:
    """The mean of each `factor` bins."""
    parts = [values[index : index + factor] for index in range(0, len(values), factor)]
    return [sum(part) / len(part) for part in parts]


def _drawn(values: Sequence[float], unit: float) -> str:
    highest = len(LEVELS) - 1
    return "".join(LEVELS[0 if value <= 0 else min(highest, max(1, round(value / unit)))] for value in values)
