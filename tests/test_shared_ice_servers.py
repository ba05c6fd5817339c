"""What the tubes of a registry are told of the TURN servers that they share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from unittest.mock import Mock

import perdure
from perdure import IceServer
from perdure.turn.pool import ServerPool, address_of, explained
from perdure.turn.refresher import FetchFailure, Refresher

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from perdure.shared_ice_servers import SharedIceServers

URL = "turn:turn.example:3478"
NO_SERVER = "relay_only is set and no TURN server is known"


def shared(servers: Sequence[IceServer] = (), *, relay_only: bool = True) -> SharedIceServers:
    transport = perdure.TransportConfig(tuple(servers), loopback=True, relay_only=relay_only)
    return perdure.TubeRegistry(transport=transport).ice_servers


async def test_each_refusal_asks_for_other_credentials_and_the_first_one_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    ice_servers, refresher = shared(), Mock(spec=Refresher)
    ice_servers.refresher = refresher
    address = address_of(URL)
    assert address is not None
    pool = ServerPool()
    for attempt in range(3):
        pool = pool.with_servers([IceServer(URL, f"user {attempt}", "the password")], attempt)
        failure = pool.failed(address, 401, explained(401, ""), attempt)
        assert failure is not None
        ice_servers.turn_server_failed(failure)
    assert refresher.refused.call_count == 3
    assert [record.getMessage().split()[0] for record in caplog.records] == ["turn-server-failed"]


async def test_that_only_turn_servers_may_be_used_and_none_is_known_is_said() -> None:
    ice_servers = shared([IceServer("stun:stun.example")])
    assert ice_servers.describe_troubles() == ((NO_SERVER,), True)
    ice_servers.fetch_failed(FetchFailure("https://turn.example answers 404", 1.0, None))
    assert ice_servers.describe_troubles() == (
        (f"{NO_SERVER} (the last fetch failed: https://turn.example answers 404)",),
        True,
    )
    ice_servers.set([IceServer(URL, "ada", "the password")], None)
    assert ice_servers.describe_troubles() == ((), False)
    ice_servers.set([], None)
    assert ice_servers.describe_troubles() == ((NO_SERVER,), True)


async def test_who_may_use_direct_paths_needs_no_turn_server() -> None:
    assert shared(relay_only=False).describe_troubles() == ((), False)
