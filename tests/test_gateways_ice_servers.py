"""The ICE servers that a gateway names to its clients: at first, and while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import perdure
from perdure import CarrierError, IceServer
from perdure.client import Tunnel
from perdure.gateway import Gateway
from perdure.signaling.gateway_peer import GatewaySignaling
from perdure.signaling.messages import RTCIceServer
from perdure.transport.rtc import RtcTransport
from support.recorder import TIMEOUT
from support.signaling import eventually
from support.tunnels import echo, rendezvous
from support.turn_server import Unchecked, free_port, turn_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from perdure.transport.base import Carrier, CarrierListener, Transport


class OnlyRelayed:
    """A `Transport` on the real engine whose ends tell each other of no addresses but those at a TURN server."""

    def __init__(self) -> None:
        self._engine = RtcTransport(perdure.TransportConfig(loopback=True))
        self.users: list[tuple[str | None, ...]] = []
        """Of the ICE servers, each time that they were set."""

    def offer(self, generation: int, listener: CarrierListener) -> Carrier:
        return self._engine.offer(generation, _Relayed(listener))

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> Carrier:
        return self._engine.answer(generation, sdp, _Relayed(listener))

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        self._engine.set_ice_servers(servers)
        self.users.append(tuple(server.username for server in servers))

    def renew(self) -> None:
        self._engine.renew()


class _Relayed:
    def __init__(self, listener: CarrierListener) -> None:
        self._listener = listener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if " typ relay " in candidate:
            self._listener.carrier_candidate(generation, candidate, sdp_mid, sdp_mline)


LOOPBACK = perdure.TransportConfig(loopback=True)


@contextlib.asynccontextmanager
async def gateway_at(
    url: str, transport: Transport | perdure.TransportConfig, make_signaling: Any = GatewaySignaling
) -> AsyncIterator[Gateway]:
    store = perdure.TicketStore()
    store.create("default", now=0)
    nowhere = perdure.parse_allow([])
    async with Gateway(
        url, nowhere, tickets=store, handler=echo, transport=transport, make_signaling=make_signaling
    ) as gateway:
        yield gateway


async def echoes(tunnel: Tunnel) -> None:
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await tunnel.open_connection("echo", 7)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()


class Told:
    """A handler of signals that keeps which ICE servers a tube uses."""

    def __init__(self) -> None:
        self.urls: list[tuple[str, ...]] = []
        self.users: list[str | None] = []

    async def __call__(self, signal: perdure.signals.Signal) -> None:
        if isinstance(signal, perdure.signals.TurnCredentialsRefreshed):
            self.urls.append(signal.urls)
            self.users.append(signal.username)


async def test_a_gateways_ice_servers_reach_its_clients_and_so_do_later_ones() -> None:
    told = Told()
    async with (
        rendezvous() as url,
        perdure.serve(url, handler=echo, loopback=True, ice_servers=["turn:ada:secret@127.0.0.1:9009"]) as gateway,
        perdure.connect(gateway.ticket, loopback=True, ice_servers=["stun:127.0.0.1:9"], signal_handler=told) as tunnel,
    ):
        await echoes(tunnel)
        gateway.set_ice_servers(["turn:bob:secret@127.0.0.1:9009", IceServer("stun:127.0.0.1:8")])
        gateway.set_ice_servers([])
        await eventually(lambda: len(told.urls) == 3)
        own, turn = "stun:127.0.0.1:9", "turn:127.0.0.1:9009"
        assert told.urls == [(own, turn), (own, turn, "stun:127.0.0.1:8"), (own,)]
        assert told.users == ["ada", "bob", None]
        await echoes(tunnel)


class Counted:
    """A provider that issues to another user each time."""

    def __init__(self) -> None:
        self.asked = 0

    async def ice_servers(self) -> perdure.IssuedIceServers:
        self.asked += 1
        return perdure.IssuedIceServers((IceServer("turn:127.0.0.1:9009", f"user {self.asked}", "secret"),))


async def test_a_gateway_fetches_credentials_once_for_all_its_clients_who_hear_of_each() -> None:
    provider, heard = Counted(), [Told() for _ in range(3)]
    transport = perdure.TransportConfig(loopback=True, turn_credential_refresh_interval=1.0)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(rendezvous())
        store = perdure.TicketStore()
        store.create("default", now=0)
        gateway = await stack.enter_async_context(
            Gateway(
                url,
                perdure.parse_allow([]),
                tickets=store,
                handler=echo,
                transport=transport,
                ice_server_provider=provider,
            )
        )
        for told in heard:
            tunnel = perdure.connect(gateway.ticket, loopback=True, signal_handler=told)
            await echoes(await stack.enter_async_context(tunnel))
        began = provider.asked
        await eventually(lambda: all(f"user {began + 2}" in told.users for told in heard))
    for told in heard:
        numbers = [int((user or "").removeprefix("user ")) for user in told.users]
        assert numbers == list(range(numbers[0], numbers[-1] + 1)), "each, and none is another's alone"


@pytest.mark.parametrize(
    ("servers", "error", "why"),
    [
        (["http://a.example"], ValueError, "http://a.example"),
        (["turn:a.example"], ValueError, "user name"),
        (["turn:me:secret@a.example:0"], ValueError, "turn:a.example:0"),
        ([IceServer("stun:" + "x" * 512)], ValueError, "stun:x+'.* over 512"),
        (["stun:a.example"] * 17, ValueError, "16 ICE servers"),
        ("stun:a.example", TypeError, "list"),
        ([5], TypeError, "IceServer"),
        ([Unchecked("turn:[:]:9", "me", "secret")], CarrierError, "turn:"),
    ],
)
async def test_ice_servers_that_cannot_be_are_refused_and_clients_hear_of_none(
    servers: Any, error: type[Exception], why: str
) -> None:
    told = Told()
    async with (
        rendezvous() as url,
        perdure.serve(url, handler=echo, loopback=True) as gateway,
        perdure.connect(gateway.ticket, loopback=True, signal_handler=told) as tunnel,
    ):
        await echoes(tunnel)
        with pytest.raises(error, match=why) as refused:
            gateway.set_ice_servers(servers)
        assert "secret" not in str(refused.value)
        gateway.set_ice_servers(["stun:127.0.0.1:9"])
        await eventually(lambda: told.urls == [("stun:127.0.0.1:9",)])


def test_a_gateway_is_not_made_with_ice_servers_that_its_clients_would_not_read() -> None:
    with pytest.raises(ValueError, match="16 ICE servers"):
        perdure.serve("ws://127.0.0.1:1", handler=echo, ice_servers=["stun:a.example"] * 17)
    with pytest.raises(ValueError, match=r"'turn:long.example': a server's password"):
        perdure.serve("ws://127.0.0.1:1", handler=echo, ice_servers=[IceServer("turn:long.example", "me", "y" * 513)])


@pytest.mark.parametrize("url", ["http://me:secret@host", "stun:a.example\x1b[2J", "turn:[:]:9", "stun:a.example:0"])
async def test_a_client_whose_gateway_names_a_server_that_is_none_goes_on_with_those_of_before(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, signaling, told = RTCIceServer(url, "me", "secret"), list[GatewaySignaling](), Told()

    def hostile(*given: Any, **more: Any) -> GatewaySignaling:
        signaling.append(GatewaySignaling(*given, **{**more, "ice_servers": [RTCIceServer("http://me:secret@host")]}))
        return signaling[-1]

    async with (
        rendezvous() as rendezvous_url,
        gateway_at(rendezvous_url, LOOPBACK, hostile) as gateway,
        perdure.connect(gateway.ticket, loopback=True, signal_handler=told) as tunnel,
    ):
        await echoes(tunnel)
        signaling[0].set_ice_servers([RTCIceServer("stun:127.0.0.1:9"), wrong])
        signaling[0].set_ice_servers([RTCIceServer("stun:127.0.0.1:9")])
        await eventually(lambda: told.urls == [("stun:127.0.0.1:9",)])
        decided = tunnel.decisions
        await echoes(tunnel)
        assert tunnel.decisions == decided
    refused = [line for line in caplog.messages if line.startswith("ice-servers-refused")]
    assert len(refused) == 2
    assert all(line.isprintable() for line in refused)
    assert "secret" not in caplog.text


async def test_a_gateway_cannot_steer_its_clients_to_their_own_machine(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    at_loopback = ["turn:me:secret@127.0.0.1:9999?transport=tcp", "stun:[::1]:9", "stun:localhost:9"]
    async with (
        rendezvous() as url,
        perdure.serve(url, handler=echo, loopback=True, ice_servers=["stun:169.254.1.1:9", *at_loopback]) as gateway,
        Tunnel(gateway.ticket, wait=False, transport=perdure.TransportConfig(), signal_handler=told),
    ):
        await eventually(lambda: len(refused(caplog)) == 4)
        gateway.set_ice_servers(at_loopback)
        await eventually(lambda: len(refused(caplog)) == 7)
    assert told.urls == []
    assert refused(caplog)[0].startswith('ice-server-refused server=stun:169.254.1.1:9 why="its address is')
    assert "secret" not in caplog.text


def refused(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if line.startswith("ice-server-refused")]


async def test_a_relayed_tunnel_comes_back_by_the_credentials_that_the_gateway_told_meanwhile(tmp_path: Path) -> None:
    port, at_client = free_port(), OnlyRelayed()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(rendezvous())
        gateway = await stack.enter_async_context(gateway_at(url, OnlyRelayed()))
        async with turn_server(tmp_path, port, "ada", "old") as old:
            gateway.set_ice_servers([old])
            tunnel = await stack.enter_async_context(Tunnel(gateway.ticket, transport=at_client))
            reader, writer = await tunnel.open_connection("echo", 7)
            writer.write(b"hello")
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(5) == b"hello"
            assert tunnel.path is not None
            assert tunnel.path.is_relayed
            decided = tunnel.decisions
            gateway.set_ice_servers([IceServer(old.url, "bob", "new")])
            await eventually(lambda: at_client.users == [("ada",), ("bob",)])
            writer.write(b"still")
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(5) == b"still"
            renewed = tunnel.decisions[len(decided) :]
            assert perdure.RecoveryAction.REBUILD not in {each.action for each in renewed}, (
                "what carries data is never closed"
            )
        async with turn_server(tmp_path, port, "bob", "new"):
            writer.write(b"again")
            async with asyncio.timeout(3 * TIMEOUT):
                assert await reader.readexactly(5) == b"again"
            assert tunnel.path is not None
            assert tunnel.path.is_relayed
            writer.close()
            await stack.aclose()
