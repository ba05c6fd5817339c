"""The asked-for names, for programs written against them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from perdure import Reason, Signal, State, TransportConfig
from perdure.seed import NetworkChangeType, TubeRegistry, TunnelConnectionManager, get_connection_manager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STARTED_AT = datetime.now(UTC)
"""Before any tube of these tests."""


@pytest.fixture
async def registry() -> AsyncIterator[TubeRegistry]:
    async with TubeRegistry(transport=TransportConfig(loopback=True)) as registry:
        yield registry


async def test_the_snippet_of_the_specification_runs_as_written(registry: TubeRegistry) -> None:
    def handler(signal: Signal) -> None:
        pass

    manager = TunnelConnectionManager(
        tube_id="my_tube", conversation_id="my_conversation", tube_registry=registry, signal_handler=handler
    )
    await manager.start_monitoring()
    await manager.handle_network_change(NetworkChangeType.INTERFACE_CHANGE)
    restart_sdp = await manager._execute_ice_restart()
    manager = get_connection_manager("my_tube")
    state, attempts = manager.state, manager.metrics.ice_restart_attempts
    last_activity = manager.metrics.last_activity

    assert json.loads(restart_sdp)["message"]["sdp"].startswith("v=0\r\n")
    assert (state, attempts) == (State.CONNECTING, 0)  # the first offer restarts nothing
    assert STARTED_AT < last_activity < datetime.now(UTC) + timedelta(seconds=1)


async def test_a_manager_needs_a_registry() -> None:
    with pytest.raises(ValueError, match="needs the registry"):
        TunnelConnectionManager("tube")


async def test_a_manager_is_the_tube_of_its_registry(registry: TubeRegistry) -> None:
    manager = TunnelConnectionManager("tube", "talk", registry)
    assert registry.find_tubes("talk") == ["tube"]
    with pytest.raises(ValueError, match="there is a tube 'tube' already"):
        TunnelConnectionManager("tube", tube_registry=registry)
    assert get_connection_manager("tube") is manager
    await manager.shutdown(Reason.SHUT_DOWN)
    assert "tube" not in registry
    with pytest.raises(RuntimeError, match="has ended"):
        await manager.start_monitoring()


async def test_of_an_unknown_tube_it_is_said_that_there_is_none() -> None:
    with pytest.raises(ValueError, match="no tube 'x'"):
        get_connection_manager("x")
