"""A carrier that works is replaced while much is under way, and anything may befall the network meanwhile."""

from __future__ import annotations

from random import Random

import pytest

from perdure_lab.scenario.parse import parse_scenario
from perdure_lab.sim.engine import SimCarrier
from perdure_lab.sim.play import play

ROTATIONS = 4

MISHAPS = (
    "client.eth.cut = 'peers'",
    "client.eth.cut = 'all'",
    "client.eth.mapping = 'lost'",
    "client.eth.addresses = ['192.168.50.{seed}']",
    "client.eth = {{ loss = 0.1 }}",
    "client.eth.delay = '150ms'",
    "process.client = 'rotate'",
    "process.gateway = 'rotate'",
    "process.client = 'stop'",
)
"""What happens within two seconds of a rotation."""

MENDED = "client.eth = { cut = 'none', loss = 0.0, delay = '50ms' }\nprocess.client = 'continue'"


def scenario_of(seed: int) -> str:
    random = Random(seed)
    lines = ["title = 'Rotations'", "text = 'Rotations.'", "seconds = 70", "[client.eth]", "delay = '50ms'"]
    lines.append("nat = 'endpoint-independent'")
    for number in range(ROTATIONS):
        at = 3 + 15 * number
        who = random.choice(("client", "gateway"))
        lines += ["[[step]]", f"at = {at}", f"process.{who} = 'rotate'", "measure = true"]
        mishap = random.choice(MISHAPS).format(seed=random.randint(20, 200))
        lines += ["[[step]]", f"at = {at + random.uniform(0, 2):.3f}", mishap]
        lines += ["[[step]]", f"at = {at + random.uniform(2, 6):.3f}", MENDED]
    lines += ["[traffic]", f"rate = {random.choice((50_000, 200_000, 600_000))}"]
    return "\n".join(lines)


@pytest.mark.parametrize("block", range(4))
def test_a_rotation_that_meets_with_a_mishap_loses_nothing(block: int) -> None:
    for seed in range(block * 2, block * 2 + 2):
        text = scenario_of(seed)
        run = play(parse_scenario(text, source="rotations", name="rotations"), seed)
        assert run.losses == (), f"seed {seed}"
        assert run.connections_kept == 2, f"seed {seed}"


NEWS = """
title = "News of the network"
text = "Another link comes up while a spare is padded."
seconds = 12

[client.eth]
delay = "100ms"
metric = 100

[client.wlan]
metric = 600
up = false

[[step]]
at = 6
process.client = "rotate"

[[step]]
at = 9.2
client.wlan.up = true

[traffic]
rate = 200_000
"""


def test_news_of_the_network_takes_no_spare_on_which_the_peer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    # Found by review: it cost 1 s. Where nothing but TURN servers is used, nobody knows whether the path was hit.
    monkeypatch.setattr(SimCarrier, "local_address", None)
    run = play(parse_scenario(NEWS, source="news", name="news"), 1)
    assert run.losses == ()
    assert {span.state for span in run.states} <= {"connecting", "connected", "closed"}
