"""docs/worked-examples.md and the tables of docs/recovery.md are what the core does, and leave nothing out."""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random
from typing import TYPE_CHECKING

import pytest

from perdure.core.actions import StateChanged
from perdure.core.decision import Decision, DecisionReason, RecoveryAction, Trigger
from perdure.core.events import CloseRequested, Event, PeerLeft, PeerRestarted, RttMeasured, SessionEnded
from perdure.core.state import CLOSE_REASONS, Reason, State
from support import rules_table
from support.pages import DOCS, ENDS, scripts
from support.replay import ROUND_TRIP, Tube, played

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PAGE = DOCS / "worked-examples.md"
EXAMPLES = [pytest.param(script.text, id=f"line {script.line}") for script in scripts(PAGE)]


@pytest.mark.parametrize("script", EXAMPLES)
def test_a_worked_example_leaves_nothing_out_that_the_core_does(script: str) -> None:
    assert [row for row in played(script) if row[0].startswith("before")] == []


@pytest.mark.parametrize("trigger", Trigger)
def test_each_trigger_has_worked_examples_that_are_about_it(trigger: Trigger) -> None:
    own = [script.text for script in scripts(PAGE) if script.heading == trigger.name]
    assert own
    for text in own:
        rows = [cell for row in played(text) for cell in row]
        assert any(cell.startswith(f"{trigger.value} →") or cell.endswith(f"for {trigger.value}") for cell in rows)


# The tables of decisions.

WANDERED = (
    ["sends", "peer-answers", "peer-answers-offer"] * 2
    + ["carrier-works", "carrier-lost", "network IP_ADDRESS_CHANGE is_new_address=true has_address=true"] * 2
    + ["peer-answers 0.4", "peer-answers 2", "checks 30 20"]
    + ["peer-answers-offer old-credentials", "carrier-works", "signaling-back"]
    + ["network INTERFACE_CHANGE local_address_lost=false", "network INTERFACE_CHANGE local_address_lost=true"]
    + ["network INTERFACE_CHANGE", "network INTERFACE_CHANGE is_new_address=true"]
    + ["network IP_ADDRESS_CHANGE", "network IP_ADDRESS_CHANGE has_address=false"]
    + ["network WAKE_UP slept_seconds=20", "network WAKE_UP slept_seconds=300"]
    + ["network WAKE_UP slept_seconds=300 is_new_address=true", "sleeps", "signaling-away"]
    + ["ice-disconnected", *(f"network {trigger.name}" for trigger in Trigger), "signaling-back"]
    + ["peer-offers INTERFACE_CHANGE", "peer-restarts-ice WAKE_UP", "peer-restarts-another INTERFACE_CHANGE"]
    + ["restart-ice", "rebuild", "relays-renewed", "spare-opens", "spare-lost", "peer-switched", "peer-withdraws"]
)
"""What may happen to a tube; what leads further, more often."""


def wander(random: Random, steps: int) -> Iterator[Decision]:
    """Decisions of a tube to which anything happens in any order."""
    role, stage = random.choice(["client", "gateway"]), random.choice(["connected", "begins"])
    tube = Tube(f"{role} {stage} max_restart_attempts=2 max_restarts_per_minute=4")
    for _ in range(steps):
        yield from (action for action in tube.told if isinstance(action, Decision))
        tube.told.clear()
        event = random.choice(WANDERED)
        tube.wait(tube.now + random.choice([0.0, 0.05, 0.3, 1.0, 6.0, 20.0]))
        if tube.core.state.is_final:
            return
        if event == "sleeps":
            tube.now += 100.0
            tube.serve_timeout()
        else:
            tube.happens(event)


SHORT_LIVES = [(10 + life / 10, "carrier-lost" if life % 2 else "carrier-works") for life in range(1, 19)]
"""Carriers that are lost as soon as they work, which no random walk comes upon."""

QUALITY_AGAIN = [
    (8.1, "checks 24 12"),
    (9.2, "checks 6 3"),
    (9.3, "peer-answers-offer"),
    (9.4, "peer-answers"),
    (17.5, "checks 24 12"),
    (18.6, "checks 24 12"),
    (19.7, "checks 6 3"),
    (19.8, "peer-answers-offer"),
    (19.9, "peer-answers"),
    (20, "checks 24 12"),
    (21.1, "checks 24 12"),
    (22.2, "checks 6 3"),
    (26, "wait"),
]
"""A path that is poor again soon after a restart."""

POOR_AND_SILENT = [
    (0.1, "peer-answers-offer"),
    (0.2, "carrier-works"),
    (9, "checks 24 12"),
    (10, "sends"),
    (11, "wait"),
]
"""A path that is found poor while its first answer, which has a second, is overdue."""

MOVED = [
    (10, "network IP_ADDRESS_CHANGE local_address_lost=false"),
    (20, "network IP_ADDRESS_CHANGE local_address_lost=true"),
]

POOR_AT_THE_LIMIT = [
    *[
        (second + part, event)
        for second in range(10, 28, 3)
        for part, event in ((0.0, "peer-restarts-ice INTERFACE_CHANGE"), (0.2, "peer-answers"))
    ],
    (30, "checks 24 12"),
    (32, "checks 48 24"),
    (34, "checks 72 36"),
    (50, "wait"),
]

POOR_WHILE_UNSETTLED = [
    *POOR_AT_THE_LIMIT[:10],
    *POOR_AT_THE_LIMIT[12:14],
    (33.9, "network INTERFACE_CHANGE"),
    *POOR_AT_THE_LIMIT[14:],
]
"""One restart is left, and the network moves just before."""

RESTARTED_OFTEN = [
    (second + part, event)
    for second in range(20, 200, 20)
    for part, event in ((0.0, "network INTERFACE_CHANGE"), (0.1, "peer-answers-offer"), (0.2, "peer-answers"))
]
"""A carrier whose ICE is restarted until it is worn, which no random walk comes to."""

CANNOT_RESTART = [
    step
    for start, event in ((10, "network INTERFACE_CHANGE"), (30, "network IP_ADDRESS_CHANGE"), (50, "restart-ice"))
    for step in (
        (start, "cannot-restart"),
        (start + 0.1, event),
        (start + 0.2, "peer-answers-offer"),
        (start + 0.3, "carrier-works"),
        (start + 0.4, "peer-answers"),
    )
]
"""An engine that cannot restart ICE."""

CANNOT_RESTART_POOR = [(8, "cannot-restart"), *QUALITY_AGAIN[:2]]


UNTOUCHED = "network INTERFACE_CHANGE local_address_lost=false"
TRY_DIRECT = [(8, "relayed"), (20, UNTOUCHED), (20.05, "peer-answers"), (26, "relayed")]

FAILED_WITH_A_SPARE = [(8, "rebuild"), (8.1, "ice-failed")]
FAILED = [(8, "ice-failed")]

POOR_WITH_A_SPARE = [(8, "rebuild"), *QUALITY_AGAIN[:2]]

CANNOT_RESTART_YET = [(0.1, "peer-offers"), (0.2, "cannot-restart"), (0.3, "peer-restarts-ice INTERFACE_CHANGE")]
"""The peer restarts a carrier that is not open here."""

WITHDRAWN = [(10, "peer-offers"), (10.1, "sends"), (16, "peer-withdraws")]
WITHDRAWN_AFTER_LOSS = [(10, "peer-offers"), (10.1, "carrier-lost"), (10.2, "peer-withdraws")]
"""The peer withdraws what all waits for here: the path is silent, or gone."""

WARM: list[tuple[float, str]] = [(5, "peer-offers-warm-spare"), (5.1, "warm-spare-ready")]
WARM_AND_SILENT = [*WARM, (10, "sends"), (10.2, "wait"), (10.22, "warm-spare-answers"), (12, "wait")]
"""The warm spare was to be used, and nothing came of it."""

WARM_AND_MOVED = [*WARM, (10, "network INTERFACE_CHANGE local_address_lost=true standby_leads_on=true")]

SCRIPTS: list[tuple[str, Sequence[tuple[float, str]]]] = [
    ("client connected", SHORT_LIVES),
    ("client connected connection_health_check_interval=8", QUALITY_AGAIN),
    ("client begins", POOR_AND_SILENT),
    ("client connected", POOR_AT_THE_LIMIT),
    ("client connected", POOR_WHILE_UNSETTLED),
    ("client connected", MOVED),
    ("client connected", TRY_DIRECT),
    ("client connected", RESTARTED_OFTEN),
    ("client connected", CANNOT_RESTART),
    ("client connected connection_health_check_interval=8", CANNOT_RESTART_POOR),
    ("client connected connection_health_check_interval=8", POOR_WITH_A_SPARE),
    ("client connected", FAILED),
    ("client connected", FAILED_WITH_A_SPARE),
    ("gateway begins", CANNOT_RESTART_YET),
    ("client connected", WARM_AND_MOVED),
    ("client connected", WITHDRAWN),
    ("client connected", WITHDRAWN_AFTER_LOSS),
    ("client connected", WARM_AND_SILENT),
    ("client connected", [*WARM, (10, "carrier-lost")]),
    ("client connected", [*WARM, (10, "ice-failed")]),
]


@cache
def met() -> Counter[tuple[Trigger | None, RecoveryAction, DecisionReason]]:
    """The decisions that occur, and how often each did."""
    found: list[Decision] = []
    for seed in range(300):
        found += wander(Random(seed), 150)
    for start, events in SCRIPTS:
        tube = Tube(start)
        for at, event in events:
            tube.wait(at)
            if event != "wait":
                tube.happens(event)
        found += (action for action in tube.told if isinstance(action, Decision))
    return Counter((decision.trigger, decision.action, decision.reason) for decision in found)


def test_every_answer_of_the_rules_occurs_and_no_other() -> None:
    occurs = {(action, reason) for _, action, reason in met()}
    for action, reason in rules_table.answers() - occurs:
        raise AssertionError(f"no {action} because {reason}")
    without_carrier = {(RecoveryAction.REBUILD, reason) for action, reason in occurs if action is RecoveryAction.SPARE}
    assert occurs - rules_table.answers() - without_carrier == set()


def test_the_rules_name_every_reason() -> None:
    assert {reason for _, reason in rules_table.answers()} == set(DecisionReason)


# The table of ends.


def test_a_tube_ends_as_the_table_says_and_in_no_other_way() -> None:
    assert {(state, reason) for state, reason, _ in ENDS} == set(ends())


def ends() -> Iterator[tuple[State, Reason]]:
    """What the core ends with."""
    events: list[Event] = [CloseRequested(reason) for reason in CLOSE_REASONS]
    events += [
        PeerRestarted(),
        PeerLeft(""),
        SessionEnded(Reason.UNKNOWN_SESSION, ""),
        SessionEnded(Reason.PROTOCOL, ""),
    ]
    for event in events:
        tube = Tube("client connected")
        tube.feed(event)
        tube.wait(1.0)
        yield ended(tube)
    lost = Tube("client connected")
    lost.happens("carrier-lost")
    lost.wait(100.0)
    yield ended(lost)
    forgotten = Tube("gateway begins")
    forgotten.wait(100.0)
    yield ended(forgotten)
    stalled = Tube("client connected")
    stalled.happens("sends")
    for tenth in range(1, 400):
        stalled.wait(tenth / 10)
        stalled.heard_at = stalled.now
        stalled.feed(RttMeasured(stalled.core.carrier, ROUND_TRIP))
    yield ended(stalled)


def ended(tube: Tube) -> tuple[State, Reason]:
    change = [action for action in tube.told if isinstance(action, StateChanged)][-1]
    assert change.after.is_final
    return change.after, change.reason
