"""The rendezvous lies behind an uplink that falls silent, on a real kernel without policy routes."""

from __future__ import annotations

from pathlib import Path

from support.private_namespaces import needs_namespaces, said_by
from support.two_uplinks import ETH, WLAN

DOUBTING = Path(__file__).with_name("doubting.py")


@needs_namespaces
async def test_a_doubted_link_behind_a_silent_uplink_comes_back_by_the_other_one() -> None:
    said = await said_by(DOUBTING)
    assert said == {"before": ETH, "after": WLAN, "downs": []}
