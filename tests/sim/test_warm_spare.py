"""A link that dies without a word costs a tube with a warm spare the time to notice it, and nothing else."""

from __future__ import annotations

import pytest

from perdure.core.decision import RecoveryAction
from perdure_lab.scenario.library import load
from perdure_lab.scenario.parse import parse_scenario
from perdure_lab.sim.play import play

NOTICED_WITHIN = 0.25
"""Seconds: `suspicion_floor`, and a round trip on the warm spare."""


@pytest.mark.parametrize("name", ["uplink-silent-warm", "black-hole-warm"])
def test_a_silent_link_costs_the_time_to_notice_it(name: str) -> None:
    run = play(load(name), 1)
    assert run.losses == ()
    assert max(silence.seconds for silence in run.silences) <= NOTICED_WITHIN
    actions = {taken.action for taken in run.actions_taken}
    assert RecoveryAction.SWITCH.value in actions
    assert {span.state for span in run.states} <= {"connecting", "connected", "closed"}


STALLED = """
title = "The gateway stands still"
text = "Its process is stopped for 0.6 s. Both links work."
seconds = 20

[client.eth]
metric = 100

[client.wlan]
metric = 600

[[step]]
at = 6
process.gateway = "stop"

[[step]]
at = 6.6
process.gateway = "continue"
"""


def test_a_peer_that_stands_still_for_a_moment_leaves_the_tube_where_it_is() -> None:
    run = play(parse_scenario(STALLED, source="here", name="stalled"), 1)
    assert run.losses == ()
    assert RecoveryAction.SWITCH.value not in {taken.action for taken in run.actions_taken}
    assert {span.state for span in run.states} <= {"connecting", "connected", "closed"}
