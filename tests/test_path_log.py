"""The log says by which path a tube goes: once, and again when it is another one."""

from __future__ import annotations

import logging
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from perdure import Tunnel
from perdure.transport.base import Path
from perdure.tube.log import log_path
from support.signaling import eventually
from support.tunnels import tunnel_to

DIRECT = Path(False, "udp", "192.0.2.1:50000", None, None)
RELAYED = Path(True, "udp", "198.51.100.7:50123", "203.0.113.4:40001", None, "turn:turn.example:3478")

SAID_DIRECT = "path tube=my_tube path=direct protocol=udp local=192.0.2.1:50000"
SAID_RELAYED = (
    "path tube=my_tube path=relayed protocol=udp local=198.51.100.7:50123 remote=203.0.113.4:40001 "
    "relay=turn:turn.example:3478"
)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [text for record in caplog.records if (text := record.getMessage()).startswith("path ")]


@pytest.fixture(autouse=True)
def at_level_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "perdure.tube")


def test_a_path_is_said_when_it_is_another_one(caplog: pytest.LogCaptureFixture) -> None:
    carriers: Any = SimpleNamespace(path_logged=0)
    for path in (None, DIRECT, replace(DIRECT, rtt=0.05), None, DIRECT, RELAYED, RELAYED, DIRECT):
        log_path("my_tube", carriers, path)
    assert said(caplog) == [SAID_DIRECT, SAID_RELAYED, SAID_DIRECT]


async def test_both_ends_of_a_tunnel_say_their_path_and_say_another_one(caplog: pytest.LogCaptureFixture) -> None:
    async with tunnel_to() as (tunnel, _):
        await eventually(lambda: len(said(caplog)) == 2)
        assert all("path=direct protocol=udp" in line for line in said(caplog))
        assert says_local_address_of(tunnel, said(caplog))
        await tunnel.manager.restart_ice()
        reader, writer = await tunnel.open_connection("echo", 7)
        writer.write(b"the engine moves to the new pair where a message comes by it")
        await reader.read(1)
        await eventually(lambda: len(said(caplog)) > 2)
        before = local_address(tunnel)
        tunnel.manager.rebuild()
        await eventually(lambda: local_address(tunnel) != before and says_local_address_of(tunnel, said(caplog)))


def local_address(tunnel: Tunnel) -> str | None:
    path = tunnel.path  # of a new carrier the engine tells it some milliseconds later
    return None if path is None else path.local_address


def says_local_address_of(tunnel: Tunnel, lines: list[str]) -> bool:
    return any(f"local={local_address(tunnel)} " in line for line in lines)
