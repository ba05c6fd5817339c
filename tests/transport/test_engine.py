"""What the engine has once for a process: its list of local networks above all."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import webrtc
import wrtc

from perdure.config import TransportConfig
from perdure.errors import CarrierError
from perdure.transport.base import LossReason
from perdure.transport.engine import REREAD_INTERVAL
from perdure.transport.rtc import RtcTransport
from support.network_namespace import network_namespace
from support.turn_server import Unchecked
from transport.peers import TIMEOUT, Peer, Peers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from perdure.transport.base import Carrier


TRIES = 5
"""What is quick is quick in one of them, also on a machine that has no time in the others; what waits for the engine to
read its list again, every `REREAD_INTERVAL`, is so in none."""

NEWCOMER = Path(__file__).with_name("newcomer.py")


@pytest.fixture
async def pairs() -> AsyncIterator[tuple[Peers, Peers]]:
    """Before a change of the networks and after it; closed at the end, whatever the test has closed."""
    before, after = Peers(), Peers()
    yield before, after
    before.close()
    after.close()


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def gone() -> None:
    """Wait until the engine has let its factory, and the list of networks, go."""
    async with asyncio.timeout(TIMEOUT):
        while wrtc._alive_factories():  # noqa: ASYNC110  the engine does not tell
            await asyncio.sleep(0.001)


async def sends_from(carrier: Carrier) -> str:
    async with asyncio.timeout(TIMEOUT):
        while (address := carrier.local_address) is None:  # noqa: ASYNC110  nor that it has found a path
            await asyncio.sleep(0.001)
    return address


async def opened(peer: Peer) -> None:
    async with asyncio.timeout(TIMEOUT):
        await peer.binding


async def test_the_engine_lets_its_networks_go_with_the_last_carrier_and_no_garbage_collection() -> None:
    with without_garbage_collection():
        for _ in range(3):
            peers = Peers()
            await peers.open()
            assert wrtc._alive_factories() == 1
            peers.close()
            del peers
            await gone()


async def test_the_engine_lets_them_go_although_a_restart_and_a_measurement_are_under_way() -> None:
    with without_garbage_collection():
        for yields in range(0, 12, 3):
            peers = Peers()
            here, there = await peers.open()
            await sends_from(here)
            here.restart(4)
            there.restart(5)
            here.measure()
            for _ in range(yields):
                await asyncio.sleep(0)
            peers.close()
            del peers, here, there
            await gone()


async def test_a_carrier_begun_after_a_change_opens_once_those_of_before_are_closed(pairs: tuple[Peers, Peers]) -> None:
    before, after = pairs
    await before.open()
    after.transport.renew()
    after.offerer.offer(3)
    assert after.offerer.carrier is not None
    assert after.offerer.carrier.local_address is None
    before.close()
    await opened(after.offerer)
    await opened(after.answerer)
    after.offerer.carrier.send(b"by the new one")
    async with asyncio.timeout(TIMEOUT):
        assert await after.answerer.messages.get() == b"by the new one"


async def test_a_carrier_that_lives_on_holds_up_those_begun_after_a_change_for_a_moment_only() -> None:
    async def opened_before_the_engine_reads_again() -> bool:
        before, after = Peers(), Peers()
        try:
            here, _ = await before.open()
            renewed_at = asyncio.get_running_loop().time()
            after.transport.renew()
            await after.open()
            seconds = asyncio.get_running_loop().time() - renewed_at
            here.send(b"still here")
            async with asyncio.timeout(TIMEOUT):
                assert await before.answerer.messages.get() == b"still here"
            return seconds < REREAD_INTERVAL
        finally:
            before.close()
            after.close()

    for _ in range(TRIES):
        if await opened_before_the_engine_reads_again():
            return
    raise AssertionError("it waits until the engine has read its list again")


async def test_changes_in_quick_succession_hold_a_new_carrier_up_no_longer(pairs: tuple[Peers, Peers]) -> None:
    before, after = pairs
    await before.open()
    after.offerer.transport.renew()
    after.offerer.offer(3)
    async with asyncio.timeout(TIMEOUT):
        while not after.offerer.binding.done():
            after.transport.renew()
            await asyncio.sleep(0.01)


async def test_a_carrier_closed_while_it_waits_is_never_heard_of(pairs: tuple[Peers, Peers]) -> None:
    before, after = pairs
    await before.open()
    after.transport.renew()
    after.offerer.offer(3)
    assert after.offerer.carrier is not None
    with pytest.raises(RuntimeError, match="not opened"):
        after.offerer.carrier.restart(4)
    after.offerer.carrier.close()
    before.close()
    await gone()
    await asyncio.sleep(0)
    assert not after.offerer.descriptions
    assert not after.offerer.lost.done()


async def test_a_carrier_that_was_measured_while_it_waits_can_be_measured_once_it_is_open(
    pairs: tuple[Peers, Peers],
) -> None:
    before, after = pairs
    await before.open()
    after.transport.renew()
    after.offerer.offer(3)
    assert after.offerer.carrier is not None
    after.offerer.carrier.measure()
    await asyncio.sleep(0)
    before.close()
    await opened(after.offerer)
    assert after.offerer.measured.empty()
    after.offerer.carrier.measure()
    async with asyncio.timeout(TIMEOUT):
        await after.offerer.measured.get()


async def test_an_answer_that_waits_takes_the_peers_candidates_after_its_offer(pairs: tuple[Peers, Peers]) -> None:
    before, after = pairs
    await before.open()
    after.offerer.offer(3)
    async with asyncio.timeout(TIMEOUT):
        while after.answerer.carrier is None:
            after.answerer.transport.renew()
            await asyncio.sleep(0)
    await opened(after.offerer)
    await opened(after.answerer)


async def test_an_offer_that_cannot_be_read_loses_the_carrier_that_waited_too() -> None:
    before = Peers()
    try:
        await before.open()
        before.transport.renew()
        peer = Peer(before.transport)
        peer.carrier = peer.transport.answer(3, "v=0\r\nthis is no description\r\n", peer)
        async with asyncio.timeout(TIMEOUT):
            assert await peer.lost is LossReason.REFUSED_DESCRIPTION
    finally:
        before.close()


async def test_a_carrier_that_waited_and_is_refused_by_the_engine_is_lost() -> None:
    before = Peers()
    try:
        await before.open()
        transport = RtcTransport(TransportConfig((Unchecked("turn:[:]:9", "user", "secret"),), loopback=True))
        transport.renew()
        peer = Peer(transport)
        peer.offer(3)
        async with asyncio.timeout(TIMEOUT):
            assert await peer.lost is LossReason.ENGINE_FAILED
    finally:
        before.close()


async def test_a_connection_whose_channel_the_engine_refuses_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[wrtc.RTCPeerConnection] = []

    def refuse(connection: wrtc.RTCPeerConnection, *_: object) -> None:
        refused.append(connection)
        raise webrtc.OperationError("no channel")

    monkeypatch.setattr(wrtc.RTCPeerConnection, "createDataChannel", refuse)
    with without_garbage_collection():
        peer = Peer(RtcTransport(TransportConfig(loopback=True)))
        with pytest.raises(CarrierError, match="no channel"):
            peer.offer(3)
        assert refused.pop().signalingState is webrtc.RTCSignalingState.closed
        await gone()


async def test_a_carrier_tells_the_address_it_sends_from_while_it_has_a_path() -> None:
    peers = Peers()
    try:
        here, there = await peers.open()
        address = await sends_from(here)
        assert any(f" {address} " in candidate for _, candidate in peers.offerer.candidates)
        assert await sends_from(there) == address
        here.close()
        assert here.local_address is None
    finally:
        peers.close()


def test_field_trials_are_set_before_the_first_connection_and_done_without_after() -> None:
    program = (
        "import asyncio, webrtc\n"
        "from perdure.config import TransportConfig\n"
        "from perdure.transport.rtc import RtcTransport\n"
        "async def main():\n"
        "    {first}\n"
        "    RtcTransport(TransportConfig(own_interfaces=False))\n"
        "    print(sorted(webrtc.field_trials))\n"
        "asyncio.run(main())\n"
    )
    for first, expected in (
        ("pass", ["WebRTC-IceHandshakeDtls", "WebRTC-Sctp-Snap"]),
        ("webrtc.RTCPeerConnection()", []),
    ):
        told = subprocess.run(
            [sys.executable, "-c", program.format(first=first)], capture_output=True, text=True, check=True, timeout=30
        )
        assert json.loads(told.stdout.replace("'", '"')) == expected


def seconds_until_a_new_address_is_gathered(after_seconds: float, *, others_stay: bool = False) -> float:
    """The carrier of before is replaced so long after the address appeared, if it is."""
    command = network_namespace()
    told = subprocess.run(
        [*command, sys.executable, str(NEWCOMER), str(after_seconds), "others" if others_stay else "alone"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    return float(told.stdout)


def test_a_carrier_begun_after_a_new_address_appeared_gathers_it_at_once() -> None:
    assert any(seconds_until_a_new_address_is_gathered(0.0) < REREAD_INTERVAL / 2 for _ in range(TRIES))


def test_a_carrier_that_is_replaced_a_while_after_the_change_gathers_it_at_once_too() -> None:
    # Found in the lab: at 50 ms RTT signaling was back after 200 ms, and the carrier was replaced only then.
    assert any(seconds_until_a_new_address_is_gathered(0.3) < REREAD_INTERVAL / 2 for _ in range(TRIES))


def test_where_other_carriers_stay_open_it_is_added_without_another_offer() -> None:
    seconds_until_a_new_address_is_gathered(0.0, others_stay=True)
