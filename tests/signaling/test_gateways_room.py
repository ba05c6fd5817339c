"""Whose room it is, over real sockets: a gateway proves its key, and two with one key do not take turns."""

from __future__ import annotations

import logging
import os
import socket
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

import perdure
from perdure.errors import RendezvousError
from perdure.signaling.frames import (
    MAX_NAME_CHARACTERS,
    Challenge,
    Deliver,
    Join,
    Presence,
    Proof,
    RefusalCode,
    Role,
    Send,
)
from perdure.signaling.gateway_name import own_name
from perdure.signaling.gateway_proof import gateway_join
from perdure.signaling.noise import public_bytes
from perdure.signaling.retry_wait import REFUSED_BACKOFF_BASE
from perdure.signaling.server import RendezvousServer
from perdure.signaling.status import SignalingState, SignalingStatus
from perdure.signaling.websocket import RendezvousLink
from support.links import Owner
from support.paths import Path
from support.raw_peers import KEY, OTHER_KEY, ROOM, Peers, metrics
from support.signaling import Sessions, client_of, eventually, ticket_at, tickets, within

if TYPE_CHECKING:
    from collections.abc import Callable

GATEWAY, CLIENT, OTHER = "a" * 32, "b" * 32, "c" * 32


def _honest(challenge: Challenge) -> Join:
    return gateway_join(KEY, GATEWAY, "home", challenge)


def _without_proof(challenge: Challenge) -> Join:
    return Join(ROOM, Role.GATEWAY, GATEWAY)


def _with_another_key(challenge: Challenge) -> Join:
    return msgspec.structs.replace(gateway_join(OTHER_KEY, GATEWAY, "", challenge), room=ROOM)


def _with_a_key_that_it_only_knows(challenge: Challenge) -> Join:
    proof = gateway_join(OTHER_KEY, GATEWAY, "", challenge).gateway
    assert proof is not None
    return Join(ROOM, Role.GATEWAY, GATEWAY, Proof(public_bytes(KEY), proof.proof))


def _as_another_peer(challenge: Challenge) -> Join:
    return msgspec.structs.replace(_honest(challenge), peer_id=OTHER)


def _with_a_key_of_small_order(challenge: Challenge) -> Join:
    return Join(ROOM, Role.GATEWAY, GATEWAY, Proof(bytes(32), bytes(32)))


@pytest.mark.parametrize(
    "join",
    [
        _without_proof,
        _with_another_key,
        _with_a_key_that_it_only_knows,
        _as_another_peer,
        _with_a_key_of_small_order,
    ],
)
async def test_a_gateway_that_does_not_prove_its_key_is_refused(join: Callable[[Challenge], Join]) -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        peer = await peers.open()
        await peer.send(join(peer.challenge))
        assert await peer.refusal() is RefusalCode.BAD_PROOF
        await peers.gateway(GATEWAY)


async def test_a_proof_of_another_connection_or_for_another_rendezvous_is_refused() -> None:
    async with (
        RendezvousServer() as server,
        RendezvousServer() as elsewhere,
        Peers(server.port) as peers,
        Peers(elsewhere.port) as others,
    ):
        for challenge in ((await peers.open()).challenge, (await others.open()).challenge):
            peer = await peers.open()
            await peer.send(_honest(challenge))
            assert await peer.refusal() is RefusalCode.BAD_PROOF
        peer = await peers.open()
        await peer.send(_honest(Challenge((await others.open()).challenge.key, peer.challenge.nonce)))
        assert await peer.refusal() is RefusalCode.BAD_PROOF


async def test_a_second_gateway_with_the_same_key_is_told_which_one_is_there(caplog: pytest.LogCaptureFixture) -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        first = await peers.gateway(GATEWAY, name="basement")
        client = await peers.client(CLIENT, peers=(GATEWAY,))
        assert await first.receive() == Presence(CLIENT, True)
        second = await peers.asking_gateway(OTHER, name="attic")
        refused = await second.refused()
        assert refused.code is RefusalCode.OCCUPIED
        assert "basement" in refused.reason
        assert f"refused code=occupied address=127.0.0.1 room={ROOM[:8]}" in caplog.messages
        await client.send(Send("", b"x"))
        assert await first.receive() == Deliver(CLIENT, b"x")


async def test_a_gateway_whose_path_is_dead_gives_its_room_to_the_next() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        path = Path(server.port)
        async with path.open() as port, Peers(port) as far:
            await far.gateway(GATEWAY, name="basement")
            client = await peers.client(CLIENT, peers=(GATEWAY,))
            path.swallow()
            second = await peers.gateway(OTHER, name="attic", peers=(CLIENT,))
            assert [await client.receive() for _ in range(2)] == [Presence(GATEWAY, False), Presence(OTHER, True)]
            await client.send(Send("", b"x"))
            assert await second.receive() == Deliver(CLIENT, b"x")
            assert 'perdure_rendezvous_peers{role="gateway"} 1.0' in await metrics(server.port)


async def test_a_gateway_that_comes_back_over_another_path_has_its_room_at_once() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        path = Path(server.port)
        async with path.open() as port, Peers(port) as far:
            await far.gateway(GATEWAY)
            client = await peers.client(CLIENT, peers=(GATEWAY,))
            path.swallow()
            again = await peers.gateway(GATEWAY, peers=(CLIENT,))
            assert await client.receive() == Presence(GATEWAY, True), "it never went"
            await client.send(Send("", b"x"))
            assert await again.receive() == Deliver(CLIENT, b"x")


class Impatient(Random):
    """Records within which bounds a wait may be, and waits not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.bounds: list[tuple[float, float]] = []

    def uniform(self, a: float, b: float) -> float:
        self.bounds.append((a, b))
        return 0.0


async def test_a_second_gateway_waits_longer_each_time_and_joins_when_the_first_has_gone() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        first = await peers.gateway(OTHER, name="basement")
        waits, owner = Impatient(), Owner()
        link = RendezvousLink(f"ws://127.0.0.1:{server.port}", join=_honest, listener=owner, random=waits)
        link.start()
        await eventually(lambda: len(waits.bounds) >= 3)
        base = REFUSED_BACKOFF_BASE
        assert waits.bounds[:3] == [(base / 2, base), (base, 2 * base), (2 * base, 4 * base)]
        assert set(owner.downs) == {"occupied: another gateway (basement) serves with the same key"}
        await first.websocket.close()
        await eventually(lambda: link.is_up)
        await within(link.close())


async def test_a_gateway_that_finds_its_room_taken_says_so_and_its_clients_do_not_notice() -> None:
    store = tickets()
    async with RendezvousServer() as server, Sessions(store, server.port, name="basement") as first:
        await within(first.signaling.wait_ready())
        async with Sessions(store, server.port, name="attic") as second:
            await eventually(lambda: "basement" in second.signaling.status.reason)
            async with client_of(ticket_at(store, server.port)) as client:
                await within(client.wait_available())
                await first.first()
            assert second.opened == []


async def test_a_gateway_that_takes_over_from_another_one_says_so_and_one_that_finds_its_room_free_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = tickets()
    told: list[SignalingStatus] = []
    async with RendezvousServer() as server, Sessions(store, server.port, name="basement") as first:
        await within(first.signaling.wait_ready())
        async with Sessions(store, server.port, name="attic", on_status=told.append) as second:
            await eventually(lambda: second.signaling.status.refusal is RefusalCode.OCCUPIED)
            assert not [message for message in caplog.messages if message.startswith("gateway-took-over")]
            await first.signaling.close()
            await within(second.signaling.wait_ready())
            second.signaling.network_moved(local_address_lost=True, slept_seconds=0.0)
            await eventually(lambda: [status.state for status in told].count(SignalingState.READY) == 2)
    (line,) = [record for record in caplog.records if record.getMessage().startswith("gateway-took-over")]
    assert line.levelno == logging.WARNING
    assert 'was="occupied: another gateway (basement) serves with the same key"' in line.getMessage()


def test_two_gateways_on_one_host_have_names_that_tell_them_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "h" * MAX_NAME_CHARACTERS)
    assert own_name().startswith("hhh")
    assert own_name().endswith(f"h, process {os.getpid()}")
    assert len(own_name()) == MAX_NAME_CHARACTERS


async def test_with_exit_on_fail_a_second_gateway_says_that_the_rendezvous_refuses_it() -> None:
    store = tickets()
    async with RendezvousServer() as server, Sessions(store, server.port, name="basement") as first:
        await within(first.signaling.wait_ready())
        url = f"ws://127.0.0.1:{server.port}"
        with pytest.raises(RendezvousError, match=rf"^the rendezvous at {url}/v2 refuses: occupied: another gateway"):
            async with perdure.serve(url, tickets=store, allow=["127.0.0.1:9"], retry=False):
                pass
