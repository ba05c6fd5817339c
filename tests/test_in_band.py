"""Signaling through the carrier itself: real tubes whose link for signaling is gone get new carriers all the same."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

import perdure
from perdure import DecisionReason, RestartPolicy, State
from support.carriers import carrier_of
from support.own_signaling import ApplicationLink, OwnEnds
from support.recorder import TIMEOUT, Recorder
from support.session_pair import position_coded
from support.signaling import eventually
from support.tunnels import echo, rendezvous

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure import TunnelConnectionManager

ROTATIONS = 10

PATIENT = RestartPolicy(silence_floor=5.0, suspicion_floor=5.0)
"""No machine is so busy that it doubts its own loopback."""


@contextlib.asynccontextmanager
async def without_link() -> AsyncIterator[OwnEnds]:
    """Both ends CONNECTED, and nothing carries their signaling any more."""
    async with OwnEnds(PATIENT) as ends:
        link = ApplicationLink()
        calls = ends.run(link)
        await ends.connected()
        await link.lose(calls)
        yield ends


async def rotated(end: TunnelConnectionManager, other: TunnelConnectionManager) -> None:
    """`end` asks for a new carrier, and both are on it."""
    before = carrier_of(end)
    end.rebuild()
    await eventually(lambda: carrier_of(end) == carrier_of(other) > before, seconds=TIMEOUT)
    carriers = [each.tube.driver.carriers.held for each in (end, other)]
    await eventually(lambda: all(held.old is None for held in carriers), seconds=TIMEOUT)


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
            await rotated(*((ends.here, ends.there) if by_initiator else (ends.there, ends.here)))
        is_over = True
        sent = await sending
        assert await stream.received(sent) == position_coded(0, sent)
        assert states == []


@pytest.mark.parametrize("by_initiator", [True, False])
async def test_ice_restarts_while_nothing_else_carries_its_signaling(by_initiator: bool) -> None:
    async with without_link() as ends:
        end = ends.here if by_initiator else ends.there
        before = carrier_of(end)
        for restarts in (1, 2):
            await end.restart_ice()
            await eventually(lambda: all(each.state is State.CONNECTED for each in (ends.here, ends.there)))
            assert end.metrics.ice_restart_attempts == restarts
        await still_carries(ends)
        assert carrier_of(ends.here) == carrier_of(ends.there) == before


async def test_what_was_said_meanwhile_harms_nothing_when_the_link_is_back() -> None:
    async with without_link() as ends:
        for _ in range(2):
            await rotated(ends.here, ends.there)
            await rotated(ends.there, ends.here)
        carrier, link = carrier_of(ends.here), ApplicationLink()
        ends.run(link)
        await eventually(lambda: bool(link.there_wards.sent and link.here_wards.sent))
        await eventually(lambda: link.there_wards.is_read and link.here_wards.is_read)
        await still_carries(ends)
        assert carrier_of(ends.here) == carrier_of(ends.there) == carrier


async def test_a_carrier_that_is_lost_without_a_link_waits_for_one() -> None:
    async with without_link() as ends:
        await rotated(ends.here, ends.there)
        ends.here.tube.kill_carrier()
        await ends.lost()
        ends.here.rebuild()
        assert ends.here.decisions[-1].reason is DecisionReason.NO_SIGNALING
        ends.run(ApplicationLink())
        await ends.connected()
        await still_carries(ends)


async def test_a_client_and_its_gateway_move_to_new_carriers_while_the_rendezvous_is_gone() -> None:
    async with contextlib.AsyncExitStack() as stack, contextlib.AsyncExitStack() as while_there:
        url = await while_there.enter_async_context(rendezvous())
        gateway = await stack.enter_async_context(perdure.serve(url, handler=echo, loopback=True, policy=PATIENT))
        tunnel = await stack.enter_async_context(perdure.connect(gateway.ticket, loopback=True, policy=PATIENT))
        ends = tunnel.manager, next(iter(gateway.tubes))
        reader, writer = await tunnel.open_connection("echo", 1)
        await while_there.aclose()
        await eventually(lambda: not any(end.tube.driver.channel.available for end in ends))
        for end, other in (ends, ends[::-1]):
            await rotated(end, other)
            writer.write(b"still here")
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(10) == b"still here"
        writer.close()


async def still_carries(ends: OwnEnds) -> None:
    stream = Recorder.open(ends.here)
    stream.write(b"works")
    assert await stream.received(5) == b"works"
