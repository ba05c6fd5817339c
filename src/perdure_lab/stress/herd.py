"""Clients that lose their rendezvous all at once."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from time import monotonic
from typing import TYPE_CHECKING

import psutil
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import perdure
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.envelope import ID_BYTES
from perdure.signaling.status import SignalingState
from perdure_lab.stress.echoes import echo
from perdure_lab.stress.programs import house

if TYPE_CHECKING:
    from perdure.signaling.status import SignalingStatus
    from perdure_lab.stress.programs import House
    from perdure_lab.stress.stage import Stage

CLIENTS_A_ROOM = 1000
"""As many as a gateway takes."""

NEVER_FULL = perdure.ResourceLimits(max_concurrent_creates=2 * CLIENTS_A_ROOM)
"""These clients begin no carrier, so that their tubes are being set up all the while."""

BACK_TIMEOUT = 120.0
"""Seconds for all to be back; one that is not by then never will."""

MOST_SECONDS = 30.0
"""Until all are back: a client waits at most some seconds between two attempts."""


async def test_rendezvous_reconnect_herd(stage: Stage) -> None:
    """So many clients lose their rendezvous at once, twice: killed and back at once, and killed for some seconds. All
    are back soon, and none is refused for good."""
    async with house() as built, AsyncExitStack() as stack:
        members = [Member() for _ in range(stage.sizes.clients)]
        for first in range(0, len(members), CLIENTS_A_ROOM):
            stage.progress("clients joined", first, len(members))
            gateway = await stack.enter_async_context(
                perdure.serve(built.url, handler=echo, loopback=True, limits=NEVER_FULL)
            )
            room = members[first : first + CLIENTS_A_ROOM]
            for member in room:
                await stack.enter_async_context(member.signaling_to(gateway.ticket))
            await _all_ready(stage, room, "to join at first")
        for away in (0.0, stage.sizes.seconds / 5):
            await _lose(stage, built, members, away)
    stage.measured("clients", len(members))


async def _lose(stage: Stage, built: House, members: list[Member], away: float) -> None:
    stage.progress(f"the rendezvous is away for {away:.0f} s", 0, len(members))
    await built.rendezvous.kill()
    await asyncio.gather(*(member.lost.wait() for member in members))
    await asyncio.sleep(away)
    for member in members:
        member.ready_at = None
    await built.restart_rendezvous()
    back_at = monotonic()
    await _all_ready(stage, members, f"back after {away:.0f} s")
    waits = sorted(member.ready_at - back_at for member in members if member.ready_at is not None)
    cpu = psutil.Process(built.rendezvous.pid).cpu_times()
    what = f"rendezvous away for {away:.0f} s"
    if waits:
        stage.measured(f"{what}: half of the clients back after", waits[len(waits) // 2], "s")
        stage.measured(f"{what}: all back after", waits[-1], "s", at_most=MOST_SECONDS)
    stage.measured(f"{what}: CPU of the new rendezvous", cpu.user + cpu.system, "s")


async def _all_ready(stage: Stage, members: list[Member], what: str) -> None:
    give_up_at = monotonic() + BACK_TIMEOUT
    while (missing := sum(member.ready_at is None for member in members)) and monotonic() < give_up_at:
        stage.progress(f"clients {what}", len(members) - missing, len(members))
        await asyncio.sleep(0.1)
    stage.expect(not missing, f"{missing} of {len(members)} clients were not {what} within {BACK_TIMEOUT:.0f} s")
    failed = [member.failure for member in members if member.failure]
    stage.expect(not failed, f"{len(failed)} clients gave up: {failed[0] if failed else ''}")


class Member:
    """One client's signaling, without a tube, and when it was ready last."""

    def __init__(self) -> None:
        self.ready_at: float | None = None
        self.lost = asyncio.Event()
        self.failure = ""

    def signaling_to(self, ticket: perdure.Ticket) -> ClientSignaling:
        return ClientSignaling(
            ticket, secrets.token_bytes(ID_BYTES), key=X25519PrivateKey.generate(), on_status=self._changed
        )

    def _changed(self, status: SignalingStatus) -> None:
        if status.state is SignalingState.READY:
            self.ready_at = monotonic()
            self.lost.clear()
        else:
            self.lost.set()
        if status.state is SignalingState.FAILED:
            self.failure = status.reason
