"""`perdure.connect` and `perdure.serve`: what a program that imports perdure does first."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import logging
import os
import ssl
import subprocess
import sys
import warnings
import weakref
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest

import perdure
from perdure import NotAuthorisedError, PeerError, RendezvousError, ResourceLimits, State, TicketError
from perdure.admission import Holder
from perdure.keys import key_text
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.frames import Join, Proof, Role
from perdure.signaling.gateway_proof import room_id
from perdure.signaling.websocket import RendezvousLink
from support import targets
from support.certificates import certificate
from support.recorder import TIMEOUT
from support.signaling import eventually
from support.targets import connected, serving
from support.tickets import ticket_for, tickets_with_default
from support.tunnels import echo, rendezvous, tunnel_to

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


@pytest.mark.parametrize("role", [perdure.connect, perdure.Tunnel, perdure.serve, perdure.Gateway])
def test_a_tunnel_is_patient_and_one_value_can_be_changed(role: Callable[..., object]) -> None:
    defaults = {name: each.default for name, each in inspect.signature(role).parameters.items()}
    policy, limits = defaults["policy"], defaults["session_limits"]
    assert policy is perdure.PATIENT_POLICY
    assert limits is perdure.UNLIMITED_SESSION
    changed = replace(perdure.PATIENT_POLICY, warm_spare="off")
    assert (changed.max_restart_attempts, changed.warm_spare) == (1000, "off")
    assert replace(perdure.UNLIMITED_SESSION, session_duration_limit=86400).session_timeout == 0


async def says(tunnel: perdure.Tunnel, text: bytes, port: int = 7) -> bytes:
    """What comes back from an echo, to its end."""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await tunnel.open_connection("echo", port)
        writer.write(text)
        writer.write_eof()
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="a process' descriptors are listed in /proc")


def descriptors() -> set[str]:
    """What this process has open; each socket has a name of its own."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return found


def tcp_sockets() -> int:
    """The engine's own sockets, which are of UDP, come and go as it likes."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]]
    return len(descriptors() & {f"socket:[{line.split()[9]}]" for line in lines})


def port_of(target: str) -> int:
    return int(target.rpartition(":")[2])


# Connecting.


async def test_a_tunnel_that_is_left_says_nothing_twice(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "perdure.signaling")
    async with tunnel_to() as (tunnel, _):
        assert await says(tunnel, b"hello") == b"hello"
        await tunnel.close()
        assert not [message for message in caplog.messages if message.startswith("messages-sent-again")]


async def test_a_refused_tunnel_ends_with_the_reason_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "perdure")
    async with rendezvous() as url, perdure.serve(url, handler=echo, loopback=True) as gateway:
        ticket = gateway.ticket
        gateway.tickets.revoke("default", now=1_800_000_000)
        with pytest.raises(NotAuthorisedError, match="the ticket was revoked"):
            async with perdure.connect(ticket, loopback=True):
                pass
    (line,) = [message for message in caplog.messages if "after=closed" in message]
    assert 'reason="closed here" detail="the ticket was revoked (at 2027-01-15 08:00:00 UTC); ' in line


async def test_a_tunnel_that_was_entered_works() -> None:
    async with tunnel_to() as (tunnel, gateway):
        assert tunnel.state.is_up
        assert await says(tunnel, b"hello") == b"hello"
        assert tunnel.metrics.bytes_sent == 5
        path = tunnel.path
        assert path is not None
        assert not path.is_relayed
        assert path.protocol == "udp"
        assert tunnel.decisions[-1].action is perdure.RecoveryAction.REBUILD
        assert len(gateway.tubes) == 1
    assert tunnel.state is State.CLOSED
    assert len(gateway.tubes) == 0


async def test_a_paths_round_trip_is_that_of_the_metrics_also_after_the_path_has_moved() -> None:
    async with tunnel_to() as (tunnel, _):
        await says(tunnel, b"hello")
        first = tunnel.path
        assert first is not None
        assert first.rtt is not None
        assert first.rtt == tunnel.metrics.rtt
        assert first.rtt > 0
        tunnel.manager.rebuild()
        await eventually(lambda: tunnel.path is not None and tunnel.path.local_address != first.local_address)
        assert tunnel.path is not None
        assert tunnel.path.rtt == tunnel.metrics.rtt is not None


@pytest.mark.parametrize("form", ["ticket", "text", "file", "path"])
async def test_a_ticket_is_given_as_itself_as_its_text_or_as_a_file(form: str, tmp_path: Path) -> None:
    async with rendezvous() as url, perdure.serve(url, handler=echo, loopback=True) as gateway:
        text = gateway.ticket.encode()
        file = tmp_path / "home.ticket"
        file.write_text(text + "\n")
        ticket: Any = {"ticket": gateway.ticket, "text": text, "file": f"@{file}", "path": file}[form]
        async with perdure.connect(ticket, loopback=True) as tunnel:
            assert await says(tunnel, b"x") == b"x"


@pytest.mark.parametrize("ticket", ["", "nonsense", "perdure2-nonsense", "@/nowhere/at-all.ticket"])
def test_a_ticket_that_cannot_be_used_is_told_at_the_call(ticket: str) -> None:
    with pytest.raises(TicketError):
        perdure.connect(ticket)


async def test_a_rendezvous_that_is_away_is_told_when_the_time_is_up() -> None:
    async with rendezvous() as url:
        pass
    with pytest.raises(RendezvousError, match="is unreachable"):
        async with perdure.serve(url, handler=echo, timeout=0.5):
            pass
    ticket = ticket_for(url, bytes(32))
    with pytest.raises(RendezvousError, match="is unreachable"):
        async with perdure.connect(ticket, timeout=0.5):
            pass
    with pytest.raises(RendezvousError, match="is unreachable"):
        async with perdure.connect(ticket, retry=False, timeout=TIMEOUT):
            pass


async def test_a_gateway_that_is_away_is_told_when_the_time_is_up() -> None:
    async with rendezvous() as url:
        with pytest.raises(PeerError, match="no gateway serves this ticket") as raised:
            async with perdure.connect(ticket_for(url, bytes(32)), timeout=0.5):
                pass
        assert raised.value.reason == "absent"


async def test_a_tunnel_entered_without_waiting_connects_when_it_can() -> None:
    async with rendezvous() as url:
        tickets = tickets_with_default()
        ticket = tickets.ticket("default", url)
        async with perdure.connect(ticket, wait=False, loopback=True) as tunnel:
            assert tunnel.state is State.CONNECTING
            assert tunnel.path is None
            saying = asyncio.ensure_future(says(tunnel, b"early"))
            await asyncio.sleep(0)
            async with perdure.serve(url, tickets=tickets, handler=echo, loopback=True):
                async with asyncio.timeout(TIMEOUT):
                    await tunnel.wait_connected()
                    assert await saying == b"early"


async def test_a_tunnel_is_entered_once() -> None:
    async with tunnel_to() as (tunnel, gateway):
        for each in (tunnel, gateway):
            with pytest.raises(RuntimeError, match="entered once"):
                await each.__aenter__()
        assert await says(tunnel, b"still") == b"still"


async def test_who_cannot_enter_leaves_nothing_open() -> None:
    def fail(*args: object, **options: object) -> Any:
        raise LookupError("no signaling")

    ticket = ticket_for("ws://127.0.0.1:1", bytes(32))
    tunnel = perdure.Tunnel(ticket, make_signaling=fail)
    gateway = perdure.Gateway(
        "ws://127.0.0.1:1", perdure.parse_allow(["127.0.0.1:22"]), tickets=perdure.TicketStore(), make_signaling=fail
    )
    before = len(asyncio.all_tasks())
    for each in (tunnel, gateway):
        with pytest.raises(LookupError, match="no signaling"):
            await each.__aenter__()
        async with asyncio.timeout(TIMEOUT):
            await each.wait_closed()
    await eventually(lambda: len(asyncio.all_tasks()) == before)


async def test_before_it_is_entered_a_tunnel_says_so() -> None:
    tunnel = perdure.connect(ticket_for("ws://127.0.0.1:1", bytes(32)))
    assert tunnel.state is State.INITIALIZING
    with pytest.raises(RuntimeError, match="not entered yet"):
        await tunnel.open_connection("echo", 7)
    with pytest.raises(RuntimeError, match="not entered yet"):
        _ = tunnel.metrics
    server = await tunnel.listen("127.0.0.1", 0, to=("echo", 7))  # so that a taken port is told first
    await tunnel.close()
    assert not server.is_serving()


async def test_after_its_end_a_tunnel_says_so() -> None:
    async with tunnel_to() as (tunnel, _):
        reader, writer = await tunnel.open_connection("echo", 7)
        await tunnel.close()
        await tunnel.close()
        with pytest.raises(RuntimeError, match="closed"):
            await tunnel.open_connection("echo", 7)
        with pytest.raises(RuntimeError, match="closed"):
            await tunnel.listen("127.0.0.1", 0, to=("echo", 7))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.write(b"too late")
        await tunnel.wait_closed()


@pytest.mark.parametrize("timeout", [-1, float("nan"), "10", True])
def test_a_timeout_that_is_none_is_told_at_the_call(timeout: Any) -> None:
    ticket = ticket_for("ws://127.0.0.1:1", bytes(32))
    for make in (
        lambda: perdure.connect(ticket, timeout=timeout),
        lambda: perdure.serve("ws://127.0.0.1:1", handler=echo, timeout=timeout),
    ):
        with pytest.raises((TypeError, ValueError), match="timeout is a number of seconds"):
            make()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("wait", "no"),
        ("retry", 1),
        ("policy", None),
        ("policy", perdure.SessionLimits()),
        ("session_limits", None),
        ("limits", 3),
        ("loopback", "no"),
        ("relay_only", 1),
        ("turn_ca", 3),
        ("ice_servers", None),
        ("ice_server_provider", 3),
        ("signal_handler", 3),
    ],
)
def test_an_argument_of_another_type_is_named_by_both_roles(name: str, wrong: object) -> None:
    options: Any = {name: wrong}
    for make in (
        lambda: perdure.connect(ticket_for("ws://127.0.0.1:1", bytes(32)), **options),
        lambda: perdure.serve("ws://127.0.0.1:1", handler=echo, **options),
    ):
        with pytest.raises(TypeError, match=name.replace("ice_servers", "ICE servers")):
            make()


@pytest.mark.parametrize("wrong", [3, b"key", ["/tmp/key"]])
def test_a_clients_key_is_a_key_or_a_path(wrong: Any) -> None:
    ticket = ticket_for("ws://127.0.0.1:1", bytes(32))
    for make in (perdure.connect, perdure.Tunnel):
        with pytest.raises(TypeError, match=f"client_key is a key, or .*, not {type(wrong).__name__}"):
            make(ticket, client_key=wrong)


def test_a_clients_key_may_be_named_by_its_path_from_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    perdure.connect(ticket_for("ws://127.0.0.1:1", bytes(32)), client_key="~/laptop.pem")
    assert (tmp_path / "laptop.pem").read_text().startswith("-----BEGIN PRIVATE KEY-----")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("rendezvous", None),
        ("rendezvous", 3),
        ("allow", None),
        ("allow", 22),
        ("allow", [1]),
        ("allow", "127.0.0.1:22"),
        ("tickets", 3),
        ("handler", 3),
    ],
)
def test_a_gateways_argument_of_another_type_is_named(name: str, wrong: object) -> None:
    options: Any = {"handler": echo, name: wrong}
    url = options.pop("rendezvous", "ws://127.0.0.1:1")
    with pytest.raises(TypeError, match=name):
        perdure.serve(url, **options)


async def test_no_port_stays_open_whose_opening_a_tunnels_close_met() -> None:
    async with rendezvous() as url, perdure.serve(url, handler=echo, loopback=True) as gateway:
        for turns in range(6):
            async with perdure.connect(gateway.ticket, loopback=True) as tunnel:
                listening = asyncio.ensure_future(tunnel.listen("127.0.0.1", 0, to=("echo", 7)))
                for _ in range(turns):
                    await asyncio.sleep(0)
            (server,) = await asyncio.gather(listening, return_exceptions=True)
            assert not (isinstance(server, asyncio.Server) and server.is_serving())


async def test_a_tunnel_does_not_keep_the_ports_that_were_closed() -> None:
    async with tunnel_to() as (tunnel, _):
        closed = []
        for _ in range(3):
            server = await tunnel.listen("127.0.0.1", 0, to=("echo", 7))
            server.close()
            closed.append(weakref.ref(server))
            del server
        await tunnel.listen("127.0.0.1", 0, to=("echo", 7))
        gc.collect()
        assert [server() for server in closed] == [None] * 3


async def test_what_was_written_before_a_tunnel_is_closed_arrives() -> None:
    heard = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())

    async with tunnel_to(listen) as (tunnel, _):
        _, writer = await tunnel.open_connection("sink", 7)
        writer.write(b"x" * 1_000_000)
        writer.close()
        await tunnel.close()
        async with asyncio.timeout(TIMEOUT):
            assert len(await heard) == 1_000_000


async def test_a_gateway_that_leaves_and_comes_back_is_found_again() -> None:
    async with (
        rendezvous() as url,
        perdure.serve(url, handler=echo, loopback=True) as first,
        perdure.connect(first.ticket, loopback=True) as tunnel,
    ):
        reader, _ = await tunnel.open_connection("echo", 7)
        await first.close()
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        saying = asyncio.ensure_future(says(tunnel, b"again"))  # waits for the next session
        async with perdure.serve(url, tickets=first.tickets, handler=echo, loopback=True):
            assert await saying == b"again"


async def test_a_gateway_comes_back_from_its_state_folder(tmp_path: Path) -> None:
    async with rendezvous() as url:
        async with perdure.serve(url, tickets=tmp_path, handler=echo, loopback=True) as first:
            ticket = first.ticket
            other = perdure.serve(url, tickets=tmp_path, handler=echo)
            with pytest.raises(TicketError, match=r"another gateway \(process \d+\) uses the state folder"):
                await other.__aenter__()
        async with (
            perdure.serve(url, tickets=str(tmp_path), handler=echo, loopback=True) as second,
            perdure.connect(ticket, loopback=True) as tunnel,
        ):
            assert second.ticket == ticket
            assert await says(tunnel, b"hello") == b"hello"
        assert second.tickets.folder == tmp_path


async def test_a_gateway_has_the_tickets_that_its_owner_makes() -> None:
    tickets = perdure.TicketStore()
    tickets.create("ada", now=0)
    gateway = perdure.serve("ws://127.0.0.1:1", tickets=tickets, handler=echo)
    assert gateway.tickets is tickets
    assert list(tickets.names) == ["ada"]
    with pytest.raises(TicketError, match="there is no ticket called 'default'"):
        _ = gateway.ticket
    assert list(perdure.serve("ws://127.0.0.1:1", handler=echo).tickets.names) == ["default"]


async def test_a_gateway_that_leaves_takes_no_session_that_it_would_end_at_once() -> None:
    # Two in vain, and the client waited for ten seconds, although the next gateway was there by then.
    async with rendezvous() as url:
        begun: list[perdure.TunnelConnectionManager] = []
        async with (
            perdure.serve(url, handler=echo, loopback=True) as first,
            perdure.connect(first.ticket, loopback=True) as tunnel,
        ):
            tunnel.tubes.add_tube_callback(begun.append)
            await first.close()
            async with perdure.serve(url, tickets=first.tickets, handler=echo, loopback=True):
                assert await says(tunnel, b"again") == b"again"
                assert len(begun) == 1


async def test_without_retry_a_session_that_ends_ends_the_tunnel(caplog: pytest.LogCaptureFixture) -> None:
    async with rendezvous() as url:
        async with (
            perdure.serve(url, handler=echo, loopback=True) as gateway,
            perdure.connect(gateway.ticket, loopback=True, retry=False) as tunnel,
        ):
            server = await tunnel.listen("127.0.0.1", 0, to=("echo", 7))
            await gateway.close()
            async with asyncio.timeout(TIMEOUT):
                with pytest.raises(PeerError, match="the tunnel ended"):
                    await tunnel.wait_closed()
            with pytest.raises(PeerError):
                await tunnel.open_connection("echo", 7)
            async with connected(server.sockets[0].getsockname()[1]) as (reader, _):
                with pytest.raises(ConnectionResetError):
                    await asyncio.wait_for(reader.read(), TIMEOUT)
        assert "connection-refused" in caplog.text


async def test_a_session_that_cannot_begin_is_told_and_waited_for_by_nobody() -> None:
    def make_signaling(*given: Any, **more: Any) -> ClientSignaling:
        if made:
            raise LookupError("no second one")
        made.append(True)
        return ClientSignaling(*given, **more)

    made: list[bool] = []
    async with rendezvous() as url, perdure.serve(url, handler=echo, loopback=True) as gateway:
        tunnel = perdure.Tunnel(
            gateway.ticket, transport=perdure.TransportConfig(loopback=True), make_signaling=make_signaling
        )
        async with tunnel:
            await tunnel.manager.shutdown()
            async with asyncio.timeout(TIMEOUT):
                with pytest.raises(PeerError, match="no second one"):
                    await tunnel.wait_closed()


async def test_a_slow_reader_has_a_whole_answer_though_the_gateway_has_left() -> None:
    # Found by an attack: the end of the session reached the reader as an error, which drops what a reader holds.
    answer = bytes(range(256)) * 1000

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)

    async with tunnel_to(tell) as (tunnel, gateway):
        reader, writer = await tunnel.open_connection("tells", 1)
        heard = await reader.readexactly(1000)
        await eventually(lambda: tunnel.metrics.bytes_received == len(answer))
        await gateway.close()
        while data := await reader.read(1000):
            heard += data
            await asyncio.sleep(0)
        assert heard == answer
        writer.close()


# Targets.


async def test_a_gateway_without_a_handler_dials_what_it_allows() -> None:
    async with serving(echo) as target, tunnel_to(None, allow=[target]) as (tunnel, _):
        reader, writer = await tunnel.open_connection("127.0.0.1", port_of(target))
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
        writer.close()
        with pytest.raises(NotAuthorisedError) as raised:
            await tunnel.open_connection("127.0.0.1", 1)
        assert raised.value.target.startswith("127.0.0.1:")


async def test_a_target_that_refuses_or_has_no_name_raises_as_a_direct_connection_does() -> None:
    async with serving(echo) as target:
        pass
    async with tunnel_to(None, allow=[target, "no-such-host.invalid:1"]) as (tunnel, _):
        with pytest.raises(ConnectionRefusedError, match=f"{target}: the target refused"):
            await tunnel.open_connection("127.0.0.1", port_of(target))
        with pytest.raises(OSError, match="cannot reach or resolve"):
            await tunnel.open_connection("no-such-host.invalid", 1)
        assert tunnel.metrics.streams == 0


async def test_a_gateway_serves_something() -> None:
    with pytest.raises(ValueError, match="allow="):
        perdure.serve("ws://127.0.0.1:1")
    wrong: Any = lambda reader, writer: None  # noqa: E731
    with pytest.raises(TypeError, match="async function"):
        perdure.serve("ws://127.0.0.1:1", handler=wrong)
    wrong_incoming: Any = echo
    with pytest.raises(ValueError, match="rendezvous URL"):
        perdure.serve("ws://", handler=echo)
    with pytest.raises(ValueError, match="a rendezvous URL looks like ws://HOST:PORT or wss://HOST"):
        perdure.serve("http://127.0.0.1:1", handler=echo)
    with pytest.raises(ValueError, match="a rendezvous URL looks like"):
        perdure.serve(ticket_for("ws://127.0.0.1:1").encode(), handler=echo)
    gateway = partial(perdure.Gateway, "ws://127.0.0.1:1", perdure.parse_allow([]), tickets=perdure.TicketStore())
    with pytest.raises(ValueError, match="handler and incoming"):
        gateway(handler=echo, incoming=lambda stream: None)
    with pytest.raises(TypeError, match="incoming is a plain function"):
        gateway(incoming=wrong_incoming)
    listed: Any = ["127.0.0.1:22"]
    with pytest.raises(TypeError, match=r"allow is an AllowList, as .* makes it, not list"):
        perdure.Gateway("ws://127.0.0.1:1", listed, tickets=perdure.TicketStore())


@pytest.mark.parametrize(("host", "port"), [("", 1), ("a b", 1), ("host", 0), ("host", 65536)])
async def test_a_target_that_cannot_be_one_is_a_mistake(host: str, port: int) -> None:
    async with tunnel_to() as (tunnel, _):
        with pytest.raises(ValueError, match=r"host|port"):
            await tunnel.open_connection(host, port)
        wrong: Any = (None, "1")
        with pytest.raises(TypeError, match="host is a text"):
            await tunnel.open_connection(*wrong)


@pytest.mark.parametrize(
    ("host", "port", "to"),
    [
        (5, 0, ("echo", 7)),
        ("127.0.0.1", 65536, ("echo", 7)),
        ("127.0.0.1", -1, ("echo", 7)),
        ("127.0.0.1", 1.5, ("echo", 7)),
        ("127.0.0.1", "80", ("echo", 7)),
        ("127.0.0.1", None, ("echo", 7)),
        ("127.0.0.1", True, ("echo", 7)),
        ("127.0.0.1", 0, ("echo", 0)),
        ("127.0.0.1", 0, "echo:7"),
        ("127.0.0.1", 0, 7),
    ],
)
async def test_a_local_port_that_cannot_be_one_is_a_mistake(host: Any, port: Any, to: Any) -> None:
    async with tunnel_to() as (tunnel, _):
        with pytest.raises((TypeError, ValueError)):
            await tunnel.listen(host, port, to=to)


async def test_a_local_port_leads_to_the_target() -> None:
    async with tunnel_to() as (tunnel, _):
        wrong: Any = 7
        with pytest.raises(TypeError, match=r"to is a pair, \(host, port\), or the path of a unix socket, not 7"):
            await tunnel.listen("127.0.0.1", 0, to=wrong)
        server = await tunnel.listen("127.0.0.1", 0, to=("echo", 7))
        port = server.sockets[0].getsockname()[1]
        async with connected(port) as (reader, writer):
            writer.write(b"through a port")
            writer.write_eof()
            async with asyncio.timeout(TIMEOUT):
                assert await reader.read() == b"through a port"
        with pytest.raises(perdure.ListenError, match="in use"):
            await tunnel.listen("127.0.0.1", port, to=("echo", 7))
        await tunnel.close()
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await asyncio.open_connection("127.0.0.1", port)


# Handlers.


NAMES = ("target", "tube_id", "peer", "peer_address", "peername", "else")


async def test_a_handler_gets_a_unix_socket_only_where_allow_names_it() -> None:
    async with tunnel_to(allow=["/run/db"]) as (tunnel, _):
        reader, writer = await tunnel.open_unix_connection("/run/db")
        assert writer.get_extra_info("peername") == "/run/db"
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        with pytest.raises(perdure.NotAuthorisedError):
            await tunnel.open_unix_connection("/run/other")
        with pytest.raises(ValueError, match="server_hostname"):
            await tunnel.open_unix_connection("/run/db", ssl=True)
    async with tunnel_to() as (tunnel, _):
        with pytest.raises(perdure.NotAuthorisedError):
            await tunnel.open_unix_connection("/run/db")


async def test_a_handler_learns_who_wants_what() -> None:
    told: dict[str, object] = {}

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told.update({name: writer.get_extra_info(name) for name in NAMES})

    async with tunnel_to(handler) as (tunnel, gateway):
        reader, _ = await tunnel.open_connection("::1", 80)
        assert await reader.read() == b""
        assert told["target"] == ("::1", 80)
        assert told["tube_id"] == tunnel.manager.tube_id
        assert isinstance(told["peer_address"], str)
        assert isinstance(told["peer"], Holder)
        assert told["peer"].ticket == "default"
        (ticket,) = gateway.tickets
        assert told["peer"].key in [key_text(key) for key in ticket.clients]
        assert (told["peername"], told["else"]) == (None, None)


async def test_a_handler_that_raises_resets_its_own_stream_behind_what_it_wrote() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("target")[1] == 7:
            await echo(reader, writer)
        else:
            writer.write(b"some")
            raise ValueError("a mistake")

    async with tunnel_to(handler) as (tunnel, _):
        reader, _ = await tunnel.open_connection("raises", 1)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(5)
        assert await says(tunnel, b"others live") == b"others live"


async def test_what_a_handler_raises_is_logged_unless_its_own_stream_was_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("target")[1] == 1:
            raise ConnectionRefusedError("the database of the handler")
        lost.set_result(list(await asyncio.gather(reader.read(), return_exceptions=True)))
        writer.write(b"x")
        raise ConnectionResetError("its own stream")

    lost: asyncio.Future[list[object]] = asyncio.get_running_loop().create_future()
    async with tunnel_to(handler) as (tunnel, _):
        reader, _ = await tunnel.open_connection("refused", 1)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        _, writer = await tunnel.open_connection("leaves", 2)
        writer.transport.abort()
        async with asyncio.timeout(TIMEOUT):
            assert isinstance((await lost)[0], ConnectionResetError)
        await asyncio.sleep(0)
    assert "the database of the handler" in caplog.text
    assert "its own stream" not in caplog.text


async def test_a_handler_that_never_reads_holds_its_writer_up_and_nobody_else() -> None:
    release = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("target")[1] == 7:
            await echo(reader, writer)
        else:
            await release.wait()

    async with tunnel_to(handler) as (tunnel, gateway):
        _, writer = await tunnel.open_connection("never-reads", 1)
        writer.write(b"x" * 16_000_000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(writer.drain(), 0.2)
        assert await says(tunnel, b"y" * 3_000_000) == b"y" * 3_000_000
        received = next(iter(gateway.tubes)).metrics.bytes_received
        assert received <= 3_000_000 + ResourceLimits().stream_window_bytes + 64 * 1024
        release.set()
        with pytest.raises(ConnectionResetError):  # it left without having read
            await asyncio.wait_for(writer.drain(), TIMEOUT)


async def test_a_cancelled_error_of_a_handlers_own_is_logged_and_ends_its_stream(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.ensure_future(asyncio.sleep(TIMEOUT))
        own.cancel()
        await own

    async with tunnel_to(handler) as (tunnel, _):
        reader, writer = await tunnel.open_connection("cancels-its-own", 1)
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()
    assert "stream-user-failed" in caplog.text


async def test_handlers_that_still_run_are_cancelled_when_the_gateway_closes() -> None:
    cancelled = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with tunnel_to(handler) as (tunnel, gateway):
        streams = await tunnel.open_connection("waits", 1)
        await gateway.close()
        assert cancelled.is_set()
        streams[1].close()


async def test_a_handler_that_ignores_its_cancellation_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    released = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    async with tunnel_to(handler) as (tunnel, gateway):
        streams = await tunnel.open_connection("stubborn", 1)
        async with asyncio.timeout(TIMEOUT):
            await gateway.close()
        assert "handlers-left" in caplog.text
        released.set()
        streams[1].close()


async def test_a_handler_that_ends_with_no_exception_of_a_programs_resets_its_stream() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise GeneratorExit  # any that is no `Exception`; this one does not stop the event loop

    async with tunnel_to(handler) as (tunnel, _), asyncio.timeout(TIMEOUT):
        with pytest.raises(ConnectionResetError):
            await says(tunnel, b"x")


# TLS, and protocols.


class Greeted(asyncio.Protocol):
    """A client's protocol that keeps what comes."""

    def __init__(self) -> None:
        self.transport: asyncio.BaseTransport | None = None
        self.data = b""
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert self.transport is None
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


async def test_tls_with_the_target_goes_through(tmp_path: Path) -> None:
    server_context, client_context = certificate(tmp_path)

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 welcome\r\n")  # the server speaks first, as with SMTP
        await writer.drain()
        writer.write(await reader.readline())
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    async with server, tunnel_to(None, allow=[f"127.0.0.1:{port}"]) as (tunnel, _):
        transport, protocol = await tunnel.create_connection(
            Greeted, "127.0.0.1", port, ssl=client_context, server_hostname="target.test"
        )
        await eventually(lambda: protocol.data == b"220 welcome\r\n")
        assert transport.get_extra_info("ssl_object").version() == "TLSv1.3"
        transport.write(b"bye\r\n")
        async with asyncio.timeout(TIMEOUT):
            await protocol.lost.wait()
        assert protocol.data == b"220 welcome\r\nbye\r\n"

        reader, writer = await tunnel.open_connection(
            "127.0.0.1", port, ssl=client_context, server_hostname="target.test"
        )
        assert await reader.readline() == b"220 welcome\r\n"
        writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await tunnel.create_connection(Greeted, "127.0.0.1", port, ssl=True)
        with pytest.raises(ValueError, match="goes with ssl"):
            await tunnel.create_connection(Greeted, "127.0.0.1", port, server_hostname="x")
        await eventually(lambda: tunnel.metrics.streams == 0)


async def test_start_tls_works_on_a_streams_writer(tmp_path: Path) -> None:
    server_context, client_context = certificate(tmp_path)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        await writer.start_tls(server_context)
        writer.write(await reader.readline())
        await writer.drain()

    async with tunnel_to(handler) as (tunnel, _):
        reader, writer = await tunnel.open_connection("upgrade", 1)
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"STARTTLS\n"
        await writer.start_tls(client_context, server_hostname="target.test")
        writer.write(b"sealed\n")
        assert await reader.readline() == b"sealed\n"
        assert writer.get_extra_info("cipher") is not None
        writer.close()


# What is told.


async def test_events_tell_the_tunnels_life_and_end_with_it() -> None:
    async with rendezvous() as url, perdure.serve(url, handler=echo, loopback=True) as gateway:
        tunnel = perdure.connect(gateway.ticket, loopback=True)
        events = tunnel.events()
        async with tunnel:
            await says(tunnel, b"x")
        async with asyncio.timeout(TIMEOUT):
            told = [event async for event in events]
    states = [event.after for event in told if isinstance(event, perdure.ConnectionStateChanged)]
    assert states == ["connecting", "connected", "closed"]
    assert isinstance(told[-1], perdure.ChannelClosed)


async def test_a_signal_handler_is_told_too() -> None:
    told: list[perdure.Signal] = []

    async def hear(signal: perdure.Signal) -> None:
        told.append(signal)

    async with (
        rendezvous() as url,
        perdure.serve(url, handler=echo, loopback=True) as gateway,
        perdure.connect(gateway.ticket, loopback=True, signal_handler=hear),
    ):
        pass
    assert isinstance(told[-1], perdure.ChannelClosed)


# What it leaves behind.


async def test_opening_that_is_cancelled_at_any_moment_leaves_nothing() -> None:
    async with tunnel_to() as (tunnel, gateway):
        await says(tunnel, b"warm")
        tasks_before = len(asyncio.all_tasks())
        for turns in range(60):
            opening = asyncio.ensure_future(tunnel.open_connection("echo", 7))
            for _ in range(turns):
                await asyncio.sleep(0)
            if not opening.cancel():
                _, writer = opening.result()
                writer.close()
            await asyncio.gather(opening, return_exceptions=True)
        await eventually(lambda: tunnel.metrics.streams == 0)
        await eventually(lambda: next(iter(gateway.tubes)).metrics.streams == 0)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks_before)


async def test_a_tls_handshake_that_is_cancelled_leaves_nothing_though_the_target_says_nothing() -> None:
    # Found by review: asyncio closes the transport, and an abort behind that did nothing.
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.Event().wait()

    async with tunnel_to(silent) as (tunnel, gateway):
        opening = asyncio.ensure_future(tunnel.open_connection("silent", 443, ssl=True))
        tube = next(iter(gateway.tubes))
        await eventually(lambda: tube.metrics.bytes_received > 0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await eventually(lambda: tunnel.metrics.streams == tube.metrics.streams == 0)


async def test_a_writer_that_nobody_keeps_ends_its_stream() -> None:
    async with tunnel_to() as (tunnel, _):
        reader, writer = await tunnel.open_connection("echo", 7)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            del reader, writer
            gc.collect()
        await eventually(lambda: tunnel.metrics.streams == 0)
        if sys.version_info >= (3, 13):  # asyncio's own, which closes it before that too
            assert ResourceWarning in [each.category for each in told]


@on_linux
async def test_connections_to_a_target_that_are_cancelled_at_any_moment_leave_no_descriptor() -> None:
    async with serving(targets.echo) as target, tunnel_to(None, allow=[target]) as (tunnel, gateway):
        host, _, port = target.partition(":")
        _, writer = await tunnel.open_connection(host, int(port))
        writer.close()
        await eventually(lambda: tunnel.metrics.streams == next(iter(gateway.tubes)).metrics.streams == 0)
        before = tcp_sockets()
        for turns in range(60):
            opening = asyncio.ensure_future(tunnel.open_connection(host, int(port)))
            for _ in range(turns):
                await asyncio.sleep(0)
            if not opening.cancel():
                opening.result()[1].close()
            await asyncio.gather(opening, return_exceptions=True)
        await eventually(lambda: tunnel.metrics.streams == next(iter(gateway.tubes)).metrics.streams == 0)
        await eventually(lambda: tcp_sockets() <= before)


@on_linux
async def test_an_entering_that_is_cancelled_at_any_moment_leaves_nothing() -> None:
    async def stay(role: perdure.Tunnel | perdure.Gateway) -> None:
        async with role:
            await asyncio.Event().wait()

    async with rendezvous() as url, perdure.serve(url, handler=echo, loopback=True) as gateway:
        ticket = gateway.ticket
        async with perdure.connect(ticket, loopback=True):
            pass  # what the engine opens once
        await eventually(lambda: len(gateway.tubes) == 0)
        tasks_before, before = len(asyncio.all_tasks()), len(descriptors())
        for turns in (0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610):
            for role in (perdure.connect(ticket, loopback=True), perdure.serve(url, handler=echo, loopback=True)):
                staying = asyncio.ensure_future(stay(role))
                for _ in range(turns):
                    await asyncio.sleep(0)
                staying.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await staying
        await eventually(lambda: len(gateway.tubes) == 0)
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks_before)
        await eventually(lambda: len(descriptors()) <= before)


CLOSED_LOOP = """
import asyncio, sys, perdure

async def begin(ticket):
    tunnel = await perdure.connect(ticket, loopback=True).__aenter__()
    return tunnel, (await tunnel.open_connection("echo", 7))[1]

loop = asyncio.new_event_loop()
tunnel, writer = loop.run_until_complete(begin(sys.argv[1]))
loop.close()

async def go_on():
    for use in (tunnel.close(), tunnel.open_connection("echo", 7), tunnel.manager.shutdown()):
        try:
            await use
        except RuntimeError as error:
            print(error)
    try:
        writer.write(b"x")
    except RuntimeError as error:
        print(error)

asyncio.run(go_on())
"""


async def test_a_tunnel_whose_loop_was_closed_says_so_and_holds_up_nobody() -> None:
    async with tunnel_to() as (_, gateway):
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLOSED_LOOP, gateway.ticket.encode(), stdout=-1, stderr=-1
        )
        async with asyncio.timeout(TIMEOUT):
            out, said = await program.communicate()
        assert program.returncode == 0, said
        assert out.decode().count("another event loop") == 3
        assert out.decode().endswith("Event loop is closed\n")


async def test_a_tube_carries_as_many_streams_as_it_may_and_says_so_at_one_more() -> None:
    limits = ResourceLimits(max_streams=3)
    async with rendezvous() as url, perdure.serve(url, handler=echo, loopback=True, limits=limits) as gateway:
        async with perdure.connect(gateway.ticket, loopback=True) as tunnel:
            streams = [await tunnel.open_connection("echo", 7) for _ in range(3)]
            with pytest.raises(ConnectionRefusedError, match="as many streams as it may"):
                await tunnel.open_connection("echo", 7)
            streams[0][1].close()
            await eventually(lambda: next(iter(gateway.tubes)).metrics.streams < 3)
            assert await says(tunnel, b"room again") == b"room again"
        async with perdure.connect(gateway.ticket, loopback=True, limits=limits) as tunnel:
            streams = [await tunnel.open_connection("echo", 7) for _ in range(3)]
            with pytest.raises(ConnectionRefusedError, match="carries 3 streams"):
                await tunnel.open_connection("echo", 7)


@pytest.mark.parametrize(
    "call",
    [
        lambda tunnel, _: tunnel.open_connection("echo", 7),
        lambda tunnel, _: tunnel.listen("127.0.0.1", 0, to=("echo", 7)),
        lambda tunnel, _: tunnel.wait_connected(),
        lambda tunnel, _: tunnel.wait_closed(),
        lambda tunnel, _: tunnel.close(),
        lambda tunnel, _: tunnel.tubes.close(),
        lambda tunnel, _: tunnel.manager.open_connection("echo", 7),
        lambda tunnel, _: tunnel.manager.listen("127.0.0.1", 0, to=("echo", 7)),
        lambda tunnel, _: tunnel.manager.wait_connected(),
        lambda tunnel, _: tunnel.manager.wait_ended(),
        lambda tunnel, _: tunnel.manager.shutdown(),
        lambda _, gateway: gateway.wait_ready(),
        lambda _, gateway: gateway.wait_closed(),
        lambda _, gateway: gateway.close(),
    ],
)
async def test_another_event_loop_is_told_and_changes_nothing(
    call: Callable[[perdure.Tunnel, perdure.Gateway], Coroutine[Any, Any, object]],
) -> None:
    async with tunnel_to() as (tunnel, gateway):

        def elsewhere() -> str:
            try:
                asyncio.run(asyncio.wait_for(call(tunnel, gateway), TIMEOUT))
            except RuntimeError as error:
                return str(error)
            return "no error"

        assert "another event loop" in await asyncio.to_thread(elsewhere)
        assert await says(tunnel, b"unharmed") == b"unharmed"


def test_importing_perdure_imports_no_engine_and_no_cli() -> None:
    heavy = "{'wrtc', 'webrtc', 'websockets', 'click', 'cryptography'}"
    code = f"import sys, perdure; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_somebody_who_joins_as_the_gateway_ends_neither_the_gateway_nor_its_tunnels(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with tunnel_to() as (tunnel, gateway):
        ticket = gateway.ticket
        intruder = RendezvousLink(
            ticket.rendezvous_url,
            join=lambda challenge: Join(
                room_id(ticket.gateway), Role.GATEWAY, "9" * 32, Proof(ticket.gateway, bytes(32), "intruder")
            ),
            listener=Mock(has_live_tubes=False),
            random=Random(1),
        )
        intruder.start()
        try:
            await eventually(lambda: "bad-proof" in caplog.text)
            reader, writer = await tunnel.open_connection("host", 1)
            writer.write(b"still here")
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(10) == b"still here"
                assert tunnel.state.is_up
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(gateway.wait_closed(), 0)
        finally:
            await intruder.close()
