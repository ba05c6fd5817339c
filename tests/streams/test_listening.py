"""Local addresses that are listened on."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from perdure.errors import ListenError
from perdure.streams.listening import listen, listen_unix

if TYPE_CHECKING:
    from pathlib import Path


async def test_localhost_is_one_port_of_both_families() -> None:
    async with await listen("localhost", 0, asyncio.Protocol) as server:
        addresses = {each.getsockname()[:2] for each in server.sockets}
    (port,) = {port for _, port in addresses}
    assert ("127.0.0.1", port) in addresses
    assert {host for host, _ in addresses} <= {"127.0.0.1", "::1"}


async def test_a_port_that_is_taken_at_one_of_two_addresses_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError, match=f"cannot listen on localhost:{port}: Address already in use"):
            await listen("localhost", port, asyncio.Protocol)


async def test_a_unix_socket_whose_queue_is_full_is_in_use(tmp_path: Path) -> None:
    path = str(tmp_path / "taken")
    with socket.socket(socket.AF_UNIX) as taken, socket.socket(socket.AF_UNIX) as first:
        taken.bind(path)
        taken.listen(0)
        first.connect(path)
        with pytest.raises(ListenError, match="Address already in use"):
            await listen_unix(path, asyncio.Protocol)


async def test_a_unix_socket_that_another_has_made_meanwhile_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = await listen_unix(str(path), asyncio.Protocol)
    path.unlink()
    other = await listen_unix(str(path), asyncio.Protocol)
    server.close()
    assert path.is_socket()
    other.close()
    other.close()
    assert not path.exists()
