"""Tunnels that have nothing but TURN servers: whose credentials expire, which refuse, fall silent, end and come back.

The servers are coturn; where it matters, behind a proxy that refuses expired credentials (`lab.strict_turn`). That a
renewal makes no silence beyond 250 ms is measured by `benchmarks.turn_rotation`, on a machine that does nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from typing import TYPE_CHECKING

import pytest

import perdure
from perdure import IceServer, TransportConfig
from perdure.client import Tunnel
from perdure.gateway import Gateway
from perdure.signaling.server import RendezvousServer
from perdure.signaling.turn_page import TurnPage
from perdure.turn.shared_secret import make_credentials
from perdure_lab.lab.strict_turn import StrictTurn
from support.carriers import carrier_of, on_another_carrier
from support.certificates import certificate
from support.recorder import TIMEOUT
from support.signaling import eventually
from support.tunnels import echo, rendezvous
from support.turn_server import coturn, free_port, turn_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from perdure import IceServerProvider
    from perdure.signals import Signal

RELAY_ONLY = TransportConfig(loopback=True, relay_only=True)

SECRET = ("--use-auth-secret", "--static-auth-secret", "north")

RECOVERY_TIMEOUT = 90.0
"""Seconds: some attempts fail before a server is back or another one is tried, and the machine may be busy."""


class Heard:
    """A handler of signals that keeps them."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []

    async def __call__(self, signal: Signal) -> None:
        self.signals.append(signal)

    @property
    def ends(self) -> list[perdure.ChannelClosed]:
        return [each for each in self.signals if isinstance(each, perdure.ChannelClosed)]

    @property
    def failures(self) -> list[str]:
        """What was said of TURN servers."""
        return [each.reason for each in self.signals if isinstance(each, perdure.TurnServerFailed)]


@contextlib.asynccontextmanager
async def relayed(
    provider: IceServerProvider, transport: TransportConfig = RELAY_ONLY, handler: Heard | None = None
) -> AsyncIterator[Tunnel]:
    """A connected tunnel to a gateway that echoes; both ends have nothing but relays. `handler`: both ends'."""
    store = perdure.TicketStore()
    store.create("default", now=0)
    async with (
        rendezvous() as url,
        Gateway(
            url,
            perdure.parse_allow([]),
            tickets=store,
            handler=echo,
            transport=transport,
            ice_server_provider=provider,
            signal_handler=handler,
        ) as gateway,
        Tunnel(gateway.ticket, transport=transport, signal_handler=handler) as tunnel,
    ):
        yield tunnel


class Traffic:
    """Numbered lines to an echo, without a pause; what comes back is what was sent, in order."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.echoed = 0

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        reader, writer = await self._tunnel.open_connection("echo", 7)
        talking = asyncio.create_task(self._talk(writer))
        listening = asyncio.create_task(self._listen(reader))
        try:
            yield
            talking.cancel()
            await asyncio.wait({talking})
            writer.write_eof()
            async with asyncio.timeout(RECOVERY_TIMEOUT):
                await listening
            assert self.echoed == self._sent
        finally:
            for task in (talking, listening):
                task.cancel()
            await asyncio.wait({talking, listening})
            writer.close()

    async def goes_on(self) -> None:
        """Wait until what is said now has come back."""
        wanted = self._sent + 1
        await eventually(lambda: self.echoed >= wanted, seconds=RECOVERY_TIMEOUT)

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        for number in itertools.count(1):
            writer.write(b"%d\n" % number)
            self._sent = number
            await writer.drain()
            await asyncio.sleep(0.01)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.echoed += 1
            assert line == b"%d\n" % self.echoed

    _sent = 0


def relay_of(tunnel: Tunnel) -> str | None:
    return None if tunnel.path is None else tunnel.path.relay_url


class Several:
    """A provider of fixed servers with credentials of their own."""

    def __init__(self, *servers: IceServer) -> None:
        self._servers = servers

    async def ice_servers(self) -> perdure.IssuedIceServers:
        return perdure.IssuedIceServers(self._servers)


class InTurn:
    """A provider that issues one server, then the next; the last one again and again."""

    def __init__(self, *servers: IceServer) -> None:
        self._servers = list(servers)

    async def ice_servers(self) -> perdure.IssuedIceServers:
        server = self._servers[0] if len(self._servers) == 1 else self._servers.pop(0)
        return perdure.IssuedIceServers((server,))


async def test_a_tunnel_outlives_its_credentials_at_a_server_that_holds_it_to_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port, heard = free_port(), Heard()
    caplog.set_level(logging.DEBUG, "perdure")
    strict = StrictTurn(port, b"north", longest_lifetime=20)
    async with coturn(tmp_path, port, *SECRET), strict.running() as strict_port:
        provider = perdure.SharedSecret("north", [f"turn:127.0.0.1:{strict_port}"], lifetime=20)
        async with relayed(provider, handler=heard) as tunnel:
            traffic = Traffic(tunnel)
            async with traffic.flowing():
                await asyncio.sleep(90)
                assert relay_of(tunnel) == f"turn:127.0.0.1:{strict_port}"
            triggers = [each.trigger for each in tunnel.decisions if each.trigger is not None]
            renewed = triggers.count(perdure.NetworkChangeType.REQUEST)
            assert renewed >= 4
            lost = [each for each in tunnel.decisions if each.reason.name in ("PATH_SILENT", "CARRIER_LOST")]
            assert len(lost) <= 1, "no path was lost, but for one where the machine was too busy"
    assert len(strict.usernames) >= 5
    told = [each for each in heard.signals if isinstance(each, perdure.TurnCredentialsRefreshed)]
    assert len(told) >= 4
    assert all(each.expires_in is not None and 0 < each.expires_in <= 20 for each in told)
    passwords = [make_credentials(b"north", *_parts(name)).password for name in strict.usernames]
    assert not any(password in caplog.text + repr(heard.signals) for password in ("north", *passwords))


def _parts(username: str) -> tuple[str, int]:
    expiry, _, user = username.partition(":")
    return user, int(expiry)


async def test_a_change_of_the_network_after_the_first_credentials_expired_finds_later_ones(tmp_path: Path) -> None:
    port = free_port()
    strict = StrictTurn(port, b"north", longest_lifetime=20)
    async with coturn(tmp_path, port, *SECRET), strict.running() as strict_port:
        provider = perdure.SharedSecret("north", [f"turn:127.0.0.1:{strict_port}"], lifetime=10)
        async with relayed(provider) as tunnel:
            traffic = Traffic(tunnel)
            async with traffic.flowing():
                await eventually(lambda: len(strict.usernames) >= 3, seconds=RECOVERY_TIMEOUT)
                change = perdure.NetworkChangeType.INTERFACE_CHANGE
                tunnel.manager.report_network_change(change, {"local_address_lost": True})
                await traffic.goes_on()


async def test_a_tunnel_whose_credentials_expire_while_nobody_issues_any_comes_back_with_the_next(
    tmp_path: Path,
) -> None:
    port, page_port, heard = free_port(), free_port(), Heard()
    (tmp_path / "token").write_text("token")
    strict = StrictTurn(port, b"north", longest_lifetime=8)
    async with coturn(tmp_path, port, *SECRET), strict.running() as strict_port:
        secret = perdure.SharedSecret("north", [f"turn:127.0.0.1:{strict_port}"], lifetime=12)
        page = TurnPage(secret, "token", now=asyncio.get_running_loop().time())
        url = f"http://127.0.0.1:{page_port}/v1/turn"
        provider = perdure.IceServersEndpoint(url, token_file=tmp_path / "token")
        issuing = RendezvousServer(port=page_port, turn_page=page)
        await issuing.start()
        async with relayed(provider, handler=heard) as tunnel, Traffic(tunnel).flowing():
            await issuing.close()
            await eventually(lambda: strict.refused.total() > 0, seconds=RECOVERY_TIMEOUT)
            fetches = [each for each in heard.signals if isinstance(each, perdure.TurnCredentialsFailed)]
            assert fetches
            assert f"{url} cannot be asked" in fetches[0].reason
            known = len(strict.usernames)
            async with RendezvousServer(port=page_port, turn_page=page):
                await eventually(lambda: len(strict.usernames) > known, seconds=RECOVERY_TIMEOUT)
                await eventually(lambda: tunnel.state.is_up, seconds=RECOVERY_TIMEOUT)


async def test_the_second_server_serves_where_the_first_swallows_everything(tmp_path: Path) -> None:
    port = free_port()
    mute = StrictTurn(free_port(), b"north", longest_lifetime=600)
    mute.swallows = True
    async with turn_server(tmp_path, port, "ada", "the password") as second, mute.running() as mute_port:
        first = IceServer(f"turn:127.0.0.1:{mute_port}", "ada", "the password")
        async with relayed(Several(first, second)) as tunnel, Traffic(tunnel).flowing():
            assert mute.swallowed
            assert relay_of(tunnel) == second.url
            await tunnel.manager.restart_ice()
            await eventually(lambda: tunnel.state.is_up)
            before = carrier_of(tunnel.manager)
            tunnel.manager.rebuild()
            await on_another_carrier(tunnel.manager, than=before)
            await eventually(lambda: relay_of(tunnel) == second.url)


async def test_tcp_is_used_where_udp_is_swallowed(tmp_path: Path) -> None:
    port = free_port()
    mute = StrictTurn(free_port(), b"north", longest_lifetime=600)
    mute.swallows = True
    async with turn_server(tmp_path, port, "ada", "the password") as server, mute.running() as mute_port:
        by_udp = IceServer(f"turn:127.0.0.1:{mute_port}", "ada", "the password")
        by_tcp = IceServer(f"{server.url}?transport=tcp", "ada", "the password")
        async with relayed(Several(by_udp, by_tcp)) as tunnel, Traffic(tunnel).flowing():
            assert tunnel.path is not None
            assert (tunnel.path.relay_url, tunnel.path.protocol) == (by_tcp.url, "tcp")


async def test_the_second_server_serves_where_the_first_has_no_room(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    heard = Heard()
    async with (
        turn_server(tmp_path / "a", free_port(), "ada", "the password", "--user-quota", "1") as first,
        turn_server(tmp_path / "b", free_port(), "ada", "the password") as second,
        relayed(Several(first, second), handler=heard) as tunnel,
        Traffic(tunnel).flowing(),
    ):
        await eventually(lambda: any("quota reached (486)" in each for each in heard.failures))


async def test_a_tunnel_moves_to_the_second_server_when_the_first_is_killed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with (
        turn_server(tmp_path / "b", free_port(), "ada", "the password") as second,
        contextlib.AsyncExitStack() as first_runs,
    ):
        first = await first_runs.enter_async_context(turn_server(tmp_path / "a", free_port(), "ada", "the password"))
        async with relayed(Several(first, second)) as tunnel:
            traffic = Traffic(tunnel)
            async with traffic.flowing():
                await traffic.goes_on()
                await first_runs.aclose()
                await traffic.goes_on()
                await eventually(lambda: relay_of(tunnel) == second.url, seconds=RECOVERY_TIMEOUT)


async def test_a_tunnel_comes_back_when_its_only_server_is_killed_and_started_again(tmp_path: Path) -> None:
    port = free_port()
    async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as second:
        server = await first.enter_async_context(turn_server(tmp_path, port, "ada", "the password"))
        async with relayed(Several(server)) as tunnel:
            traffic = Traffic(tunnel)
            async with traffic.flowing():
                await traffic.goes_on()
                await first.aclose()
                await eventually(lambda: not tunnel.state.is_up, seconds=RECOVERY_TIMEOUT)
                await second.enter_async_context(turn_server(tmp_path, port, "ada", "the password"))
                await traffic.goes_on()


async def test_tls_is_used_where_udp_is_swallowed_and_tcp_closed(tmp_path: Path) -> None:
    certificate(tmp_path)
    port = free_port()
    mute = StrictTurn(free_port(), b"north", longest_lifetime=600)
    mute.swallows = True
    transport = TransportConfig(loopback=True, relay_only=True, turn_ca=str(tmp_path / "server.pem"))
    async with turn_server(tmp_path, port, "ada", "the password", tls=True), mute.running() as mute_port:
        by_udp = IceServer(f"turn:127.0.0.1:{mute_port}", "ada", "the password")
        by_tcp = IceServer(f"turn:127.0.0.1:{free_port()}?transport=tcp", "ada", "the password")
        by_tls = IceServer(f"turns:127.0.0.1:{port}", "ada", "the password")
        async with relayed(Several(by_udp, by_tcp, by_tls), transport) as tunnel:
            traffic = Traffic(tunnel)
            async with traffic.flowing():
                await traffic.goes_on()
                assert tunnel.path is not None
                assert (tunnel.path.relay_url, tunnel.path.protocol) == (by_tls.url, "tls")


async def test_an_attempt_that_was_refused_begins_anew_with_the_credentials_that_come_meanwhile(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server:
        wrong = IceServer(server.url, "ada", "another password")
        async with relayed(InTurn(wrong, server)) as tunnel:
            assert relay_of(tunnel) == server.url
            reasons = [each.reason for each in tunnel.decisions]
            assert perdure.DecisionReason.RELAYS_RENEWED in reasons
            assert perdure.DecisionReason.BACKOFF not in reasons, "no attempt has had to fail"


async def test_a_tunnel_that_fails_names_what_is_wrong_with_the_servers(tmp_path: Path) -> None:
    heard, policy = Heard(), perdure.RestartPolicy(attempt_timeout=2.0, max_restart_attempts=1)
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server, rendezvous() as url:
        wrong = IceServer(server.url, "ada", "another password")
        store = perdure.TicketStore()
        async with Gateway(url, perdure.parse_allow([]), tickets=store, handler=echo, transport=RELAY_ONLY) as gateway:
            gateway.set_ice_servers([wrong])
            async with Tunnel(gateway.ticket, wait=False, transport=RELAY_ONLY, policy=policy, signal_handler=heard):
                await eventually(lambda: bool(heard.ends), seconds=RECOVERY_TIMEOUT)
    assert heard.ends[0].reason == perdure.Reason.ATTEMPTS_EXHAUSTED.value
    assert "no path to the other end was found in 2 s" in heard.ends[0].detail
    assert f"{server.url} refuses the credentials (401)" in heard.ends[0].detail
    assert "password" not in heard.ends[0].detail


async def test_a_tunnel_through_tls_says_so_and_names_the_server(tmp_path: Path) -> None:
    certificate(tmp_path)
    port = free_port()
    transport = TransportConfig(loopback=True, relay_only=True, turn_ca=str(tmp_path / "server.pem"))
    async with turn_server(tmp_path, port, "ada", "the password", tls=True):
        server = IceServer(f"turns:127.0.0.1:{port}", "ada", "the password")
        async with relayed(Several(server), transport) as tunnel:
            traffic = Traffic(tunnel)
            async with traffic.flowing():
                await traffic.goes_on()
                assert tunnel.path is not None
                assert (tunnel.path.relay_url, tunnel.path.protocol) == (server.url, "tls")


async def test_a_client_has_a_provider_of_its_own_beside_its_gateways_servers(tmp_path: Path) -> None:
    port = free_port()
    async with coturn(tmp_path, port, *SECRET), rendezvous() as url:
        own = perdure.SharedSecret("north", [f"turn:127.0.0.1:{port}"])
        async with (
            perdure.serve(url, handler=echo, loopback=True) as gateway,
            Tunnel(gateway.ticket, transport=RELAY_ONLY, ice_server_provider=own) as tunnel,
        ):
            traffic = Traffic(tunnel)
            async with traffic.flowing():
                decided = tunnel.decisions
                gateway.set_ice_servers(["stun:127.0.0.1:3478"])
                await traffic.goes_on()
                assert tunnel.decisions == decided, "the credentials of its path are the same"
                assert relay_of(tunnel) == own.urls[0]


async def test_who_finds_no_path_is_told_what_is_wrong_with_the_servers(tmp_path: Path) -> None:
    async with turn_server(tmp_path, free_port(), "ada", "the password") as server, rendezvous() as url:
        wrong = IceServer(server.url, "ada", "another password")
        store = perdure.TicketStore()
        async with Gateway(url, perdure.parse_allow([]), tickets=store, handler=echo, transport=RELAY_ONLY) as gateway:
            gateway.set_ice_servers([wrong])
            with pytest.raises(perdure.PeerError) as told:
                async with Tunnel(gateway.ticket, transport=RELAY_ONLY, timeout=TIMEOUT / 4):
                    pass
    assert f"{server.url} refuses the credentials (401)" in str(told.value)
    assert "password" not in str(told.value)
