"""Who may come in by which ticket, and how far: two real ends, over the rendezvous."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import perdure
from perdure import NotAuthorisedError, TicketStore
from support.recorder import TIMEOUT
from support.signaling import eventually
from support.tunnels import echo, rendezvous

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@contextlib.asynccontextmanager
async def gateway_of(tickets: TicketStore) -> AsyncIterator[perdure.Gateway]:
    async with rendezvous() as url, perdure.serve(url, tickets=tickets, handler=echo, loopback=True) as gateway:
        yield gateway


def tunnel_by(
    name: str, gateway: perdure.Gateway, *, retry: bool = True, client_key: X25519PrivateKey | None = None
) -> perdure.Tunnel:
    ticket = gateway.tickets.ticket(name, gateway.rendezvous_url)
    return perdure.connect(ticket, loopback=True, retry=retry, client_key=client_key or X25519PrivateKey.generate())


async def says(tunnel: perdure.Tunnel, text: bytes, host: str = "echo") -> bytes:
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await tunnel.open_connection(host, 7)
        writer.write(text)
        writer.write_eof()
        said = await reader.read()
        writer.close()
        return said


def tickets_of(*names: str) -> TicketStore:
    store = TicketStore()
    for name in names:
        store.create(name, now=0)
    return store


async def test_a_ticket_that_is_revoked_ends_its_tunnels_and_no_others_and_its_holder_is_told() -> None:
    tickets = tickets_of("ada", "bob")
    async with gateway_of(tickets) as gateway, tunnel_by("ada", gateway) as ada, tunnel_by("bob", gateway) as bob:
        reader, _ = await ada.open_connection("echo", 7)
        staying, writer = await bob.open_connection("echo", 7)
        tickets.revoke("ada", now=1_800_000_000)
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(ConnectionResetError):
                await reader.read()
            with pytest.raises(NotAuthorisedError, match=r"revoked.*2027-01-15"):
                await ada.wait_closed()
            writer.write(b"still here")
            assert await staying.readexactly(10) == b"still here"
        await eventually(lambda: len(gateway.tubes) == 1)


async def test_a_holder_that_reads_nothing_does_not_hold_up_the_end_of_its_tunnel() -> None:
    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    tickets = tickets_of("ada")
    async with (
        rendezvous() as url,
        perdure.serve(url, tickets=tickets, handler=flood, loopback=True) as gateway,
        tunnel_by("ada", gateway) as ada,
    ):
        reader, writer = await ada.open_connection("flood", 7)
        await reader.readexactly(1)
        (tube,) = gateway.tubes
        tickets.revoke("ada", now=1)
        async with asyncio.timeout(TIMEOUT):
            end = await tube.wait_ended()
        assert "revoked" in end.detail
        writer.close()


async def test_a_revoked_ticket_of_a_state_folder_ends_tunnels_of_the_running_gateway(tmp_path: Path) -> None:
    tickets = TicketStore(tmp_path)
    tickets.create("ada", now=0)
    async with gateway_of(tickets) as gateway, tunnel_by("ada", gateway) as ada:
        assert await says(ada, b"hello") == b"hello"
        TicketStore(tmp_path).revoke("ada", now=1)  # as `perdure ticket revoke` does, in another process
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(NotAuthorisedError, match="revoked"):
                await ada.wait_closed()


async def test_a_ticket_for_one_client_is_its_first_clients() -> None:
    tickets, key = TicketStore(), X25519PrivateKey.generate()
    tickets.create("ada", now=0, uses=1)
    async with gateway_of(tickets) as gateway:
        async with tunnel_by("ada", gateway, client_key=key) as ada:
            assert await says(ada, b"hello") == b"hello"
            with pytest.raises(NotAuthorisedError, match="used up"):
                async with tunnel_by("ada", gateway):
                    pass
        async with tunnel_by("ada", gateway, client_key=key) as again:
            assert await says(again, b"hello") == b"hello"


async def test_a_ticket_restricts_what_its_holder_may_reach() -> None:
    tickets = tickets_of("bob")
    tickets.create("ada", now=0, allow=["echo:7"])
    async with gateway_of(tickets) as gateway, tunnel_by("ada", gateway) as ada, tunnel_by("bob", gateway) as bob:
        assert await says(ada, b"hello") == b"hello"
        with pytest.raises(NotAuthorisedError):
            await ada.open_connection("other", 7)
        with pytest.raises(NotAuthorisedError):
            await ada.open_connection("echo", 8)
        assert await says(bob, b"hello", "other") == b"hello"


async def test_a_ticket_allows_nothing_that_its_gateway_does_not() -> None:
    tickets = TicketStore()
    tickets.create("ada", now=0, allow=["127.0.0.0/8:*"])
    async with (
        rendezvous() as url,
        perdure.serve(url, tickets=tickets, allow=["127.0.0.1:1"], loopback=True) as gateway,
        tunnel_by("ada", gateway) as ada,
    ):
        with pytest.raises(ConnectionRefusedError):
            await ada.open_connection("127.0.0.1", 1)
        with pytest.raises(NotAuthorisedError):
            await ada.open_connection("127.0.0.1", 2)


async def test_a_gateway_remembers_who_used_a_ticket_and_from_where() -> None:
    tickets = tickets_of("ada")
    async with gateway_of(tickets) as gateway:
        async with tunnel_by("ada", gateway):
            (ticket,) = tickets
            (use,) = ticket.clients.values()
            assert use.tunnels == 1
            await eventually(lambda: next(iter(next(iter(tickets)).clients.values())).address is not None)
        await eventually(lambda: next(iter(tickets)).tunnels == 0)
