"""What one gathering says of a TURN server: in virtual time, without an engine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from perdure import IceServer
from perdure.transport.gathering import Gathering
from perdure.transport.turn_servers import TurnServers
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

SERVER = IceServer("turn:turn.example:3478", "ada", "the password")
NOTHING_SAID = [f"{SERVER.url} gives no answer in 3 s"]


def told(happened: Callable[[Gathering], None], *, has_path: bool = False) -> list[str]:
    """What is told of a server in the first 10 s of a gathering, after whose beginning something `happened`."""
    sentences: list[str] = []
    listener = Mock()
    listener.turn_server_failed = lambda failure: sentences.append(failure.sentence(None))

    def failed(machine: Machine, error: BaseException) -> None:
        raise error

    def gather() -> None:
        servers = TurnServers([], None, lambda: None)
        servers.use(servers.renewed([SERVER]))
        servers.listener = listener
        servers.for_engine()
        gathering = Gathering(servers)
        gathering.begin(lambda: has_path)
        happened(gathering)
        kept.append(gathering)

    kept: list[Gathering] = []
    world = World(1)
    machine = Machine(world, "client", failed)
    machine.loop.call_later(0.1, gather)
    world.run(10.0)
    return sentences


def test_a_server_that_says_nothing_is_told() -> None:
    assert told(lambda gathering: None) == NOTHING_SAID
    assert told(lambda gathering: None, has_path=True) == NOTHING_SAID, "the engine went on with it"


def test_nothing_is_known_of_a_server_where_the_engine_ended_as_ice_had_found_a_path() -> None:
    assert told(Gathering.ended, has_path=True) == []


def test_a_server_that_the_engine_did_not_ask_is_told_where_there_is_no_path() -> None:
    assert told(Gathering.ended) == NOTHING_SAID


@pytest.mark.parametrize("has_path", [True, False])
def test_a_refusal_is_told_also_after_the_engine_has_ended(has_path: bool) -> None:
    def refused(gathering: Gathering) -> None:
        gathering.ended()
        gathering.errored(SERVER.url, 401, "")

    assert told(refused, has_path=has_path) == [f"{SERVER.url} refuses the credentials (401)"]


def test_a_gathering_after_one_that_was_ended_is_judged_anew() -> None:
    def again(gathering: Gathering) -> None:
        gathering.ended()
        gathering.begin(lambda: True)

    assert told(again, has_path=True) == NOTHING_SAID


def test_what_is_heard_of_a_server_after_it_was_taken_for_silent_is_told() -> None:
    """The engine keeps it back that a TCP port is closed, until it has done with each other server."""

    def happened(gathering: Gathering) -> None:
        for late in (3.1, 3.2):
            asyncio.get_running_loop().call_later(late, gathering.errored, SERVER.url, 701, "")

    assert told(happened) == [*NOTHING_SAID, f"{SERVER.url} cannot be reached (701)"]


def test_a_closed_gathering_tells_nothing() -> None:
    assert told(Gathering.close) == []
