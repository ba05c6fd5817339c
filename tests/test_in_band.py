"""Signaling through the carrier itself: real tubes whose link for signaling is gone get new carriers all the same."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from perdure import State
from support.own_signaling import ApplicationLink, OwnEnds
from support.recorder import TIMEOUT, Recorder
from support.session_pair import position_coded
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure import TunnelConnectionManager

ROTATIONS = 10


@contextlib.asynccontextmanager
async def without_link() -> AsyncIterator[OwnEnds]:
    """Both ends CONNECTED, and nothing carries their signaling any more."""
    async with OwnEnds() as ends:
        link = ApplicationLink()
        calls = ends.run(link)
        await ends.connected()
        await link.lose(calls)
        yield ends


def carrier_of(end: TunnelConnectionManager) -> int:
    return end.tube.driver.core.carrier


async def rotated(ends: OwnEnds, end: TunnelConnectionManager) -> None:
    """`end` asks for a new carrier, and both are on it."""
    before = carrier_of(end)
    end.rebuild()
    both = ends.here, ends.there
    await eventually(lambda: carrier_of(ends.here) == carrier_of(ends.there) > before, seconds=TIMEOUT)
    await eventually(lambda: all(each.tube.driver.carriers.held.old is None for each in both), seconds=TIMEOUT)


@pytest.mark.parametrize("by_initiator", [True, False])
async def test_a_tunnel_moves_to_new_carriers_in_a_row_while_nothing_else_carries_its_signaling(
    by_initiator: bool,
) -> None:
    async with without_link() as ends:
        states: list[State] = []
        for end in (ends.here, ends.there):
            end.add_state_change_callback(lambda change: states.append(change.after))
        stream = Recorder.open(ends.here)
        is_over = False

        async def traffic() -> int:
            sent = 0
            while not is_over:
                await stream.send(position_coded(sent, 5000))
                sent += 5000
                await asyncio.sleep(0.002)
            return sent

        sending = asyncio.ensure_future(traffic())
        for _ in range(ROTATIONS):
            await rotated(ends, ends.here if by_initiator else ends.there)
        is_over = True
        sent = await sending
        assert await stream.received(sent) == position_coded(0, sent)
        assert states == []
