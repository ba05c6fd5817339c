"""Made-up runs of the lab, as a real one would have seen them."""

from __future__ import annotations

from random import Random
from typing import Any

from perdure_lab.scenario.expectation import Expectation
from perdure_lab.scenario.results import (
    ActionTaken,
    NetworkEvent,
    RunResult,
    ScenarioFacts,
    ScenarioReport,
    Silence,
    StateSpan,
    Throughput,
    attribute,
)

BIN_SECONDS = 0.05
RATE = 400_000.0


def made_up_run(
    *silences: float,
    scenario: str = "unplugged",
    subject: str = "perdure",
    seed: int = 1,
    seconds: float = 20.0,
    every: float = 5.0,
    ended: bool = True,
    text: str = "client: ethernet is unplugged",
    **changed: Any,
) -> RunResult:
    """One measured event each `every` seconds, with a silence of so many seconds up, and a little less down."""
    random = Random(seed)
    events = [NetworkEvent(every * number, text, measured=True) for number in range(1, len(silences) + 1)]
    states, actions_taken, found = [StateSpan(0.0, "connected")], [], []
    for event, seconds_silent in zip(events, silences, strict=True):
        began_at = event.at + 0.002
        back_at = began_at + seconds_silent if ended else seconds
        found.append(Silence(began_at, back_at, "up", ended=ended))
        if seconds_silent >= 0.06:
            found.append(Silence(began_at + 0.001, back_at - 0.009 if ended else seconds, "down", ended=ended))
        states.append(StateSpan(event.at + 0.012, "reconnecting"))
        actions_taken.append(
            ActionTaken(event.at + 0.012, "client", "interface change", "rebuild", "its network is gone")
        )
        if ended:
            states.append(StateSpan(back_at - 0.005, "connected"))
    bins = round(seconds / BIN_SECONDS)

    def delivered(direction: str) -> tuple[float, ...]:
        rates = []
        for index in range(bins):
            begin, end = index * BIN_SECONDS, (index + 1) * BIN_SECONDS
            own = [each for each in found if each.direction == direction]
            silent = sum(max(0.0, min(end, each.ended_at) - max(begin, each.began_at)) for each in own)
            burst = sum(each.seconds * RATE / BIN_SECONDS for each in own if begin <= each.ended_at < end and ended)
            rates.append(RATE * random.uniform(0.93, 1.07) * (1 - min(1.0, silent / BIN_SECONDS)) + burst)
        return tuple(rates)

    facts: dict[str, Any] = {
        "scenario": scenario,
        "subject": subject,
        "seed": seed,
        "seconds": seconds,
        "impairment": "none",
        "events": tuple(events),
        "states": tuple(states),
        "actions_taken": tuple(actions_taken),
        "silences": attribute(found, events),
        "throughput": Throughput(BIN_SECONDS, delivered("up"), delivered("down")),
        "connections": 2,
        "connections_kept": 2,
        "bytes_sent": 16_000_000,
        "bytes_lost": 0,
        "bytes_wrong": 0,
    }
    return RunResult(**(facts | changed))


def made_up_report(
    *runs: RunResult, title: str = "Ethernet is unplugged", text: str = "What a person does.", **expected: Any
) -> ScenarioReport:
    name = runs[0].scenario if runs else "unplugged"
    seconds = runs[0].seconds if runs else 20.0
    expectation = Expectation(**expected)
    return ScenarioReport(ScenarioFacts(name, title, text, seconds, expectation), runs)
