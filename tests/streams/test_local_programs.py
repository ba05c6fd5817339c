"""Programs that are gone before their connection was taken at the other end, and peers that vanish."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from perdure.streams.local_programs import has_gone
from perdure.streams.tcp_socket import keep_alive
from support.application_pair import ApplicationPair
from support.recorder import Recorder
from support.signaling import eventually
from support.targets import connected, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure.streams.transport import StreamTransport

NAMES = ("IDLE", "INTVL", "CNT")

linux = pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux'")


@linux
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_program_has_gone_when_nobody_holds_its_end(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError:
        pytest.skip("this machine has no ::1")
    with server, socket.socket(family) as program:
        program.connect(server.getsockname())
        with server.accept()[0] as own:
            ends = own.getsockname()[:2], own.getpeername()[:2]
            assert not has_gone(*ends)
            program.shutdown(socket.SHUT_WR)
            assert not has_gone(*ends)
            program.close()
            assert has_gone(*ends)


def test_of_a_program_on_another_machine_nothing_is_known() -> None:
    assert not has_gone(("192.0.2.1", 22), ("192.0.2.2", 4711))


@asynccontextmanager
async def before_it_connects() -> AsyncIterator[tuple[ApplicationPair, int, list[str]]]:
    """A pair of tubes that is not connected yet; a local port of its first; the targets that come out at its second."""
    came: list[str] = []

    def take(stream: StreamTransport) -> None:
        came.append(str(stream.target))
        stream.start(Recorder())
        stream.accept()

    async with ApplicationPair(incoming=take) as tubes:
        tubes.here.create()
        server = await tubes.here.manager.listen("127.0.0.1", 0, to=("target", 7))
        async with server:
            yield tubes, server.sockets[0].getsockname()[1], came


async def only_the_next_one_comes(tubes: ApplicationPair, port: int, came: list[str]) -> None:
    """Connect the tubes, and see that of all programs one that begins now is the first."""
    await tubes.join(tubes.here, tubes.there)
    async with connected(port) as (_, writer):
        writer.write(b"x")
        await eventually(lambda: len(came) == 1)


@linux
async def test_a_program_that_gives_up_while_the_tube_is_away_is_not_connected_when_it_is_back() -> None:
    async with before_it_connects() as (tubes, port, came):
        streams = tubes.here.manager.tube.streams
        async with connected(port):
            await eventually(lambda: len(streams) == 1)
        await eventually(lambda: len(streams) == 0)
        await only_the_next_one_comes(tubes, port, came)


async def test_a_program_that_breaks_off_while_the_tube_is_away_is_not_connected_either() -> None:
    async with before_it_connects() as (tubes, port, came):
        streams = tubes.here.manager.tube.streams
        async with connected(port) as (_, writer):
            writer.write(b"nobody wants this any more")
            await eventually(lambda: len(streams) == 1)
            reset(writer)
        await eventually(lambda: len(streams) == 0)
        await only_the_next_one_comes(tubes, port, came)


async def test_what_a_program_wrote_before_it_closed_is_delivered_when_the_tube_is_back() -> None:
    async with before_it_connects() as (tubes, port, came):
        async with connected(port) as (_, writer):
            writer.write(b"a line for the log")
        await eventually(lambda: len(tubes.here.manager.tube.streams) == 1)
        await tubes.join(tubes.here, tubes.there)
        await eventually(lambda: len(came) == 1)


def test_a_peer_on_another_machine_is_probed_and_one_on_this_is_not() -> None:
    class Connection(asyncio.Transport):
        def __init__(self, peer: str, tcp: socket.socket) -> None:
            super().__init__({"peername": (peer, 5432), "socket": tcp})

    for peer, is_probed in (("192.0.2.7", 1), ("127.0.0.1", 0), ("::1", 0)):
        with socket.socket() as tcp:
            keep_alive(Connection(peer, tcp))
            assert tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == is_probed
            if is_probed:
                waits = [tcp.getsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_KEEP{name}")) for name in NAMES]
                assert waits[0] + waits[1] * waits[2] == 60
