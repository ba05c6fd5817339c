"""A link and the moments in which its network moves, turn by turn of the loop, over connections that are made up."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Literal

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from perdure.signaling.frames import Challenge, Join, Joined, RefusalCode, Role, encode_frame
from perdure.signaling.websocket import RendezvousLink
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure.errors import RendezvousError
    from perdure.signaling.frames import ServerFrame

TURNS = 40
"""Of the event loop: more than anything takes that does not wait."""


class Connection:
    """A `Socket` to a rendezvous that lets everybody in, and then says nothing."""

    def __init__(self) -> None:
        self.local_address = ("192.0.2.1", 1)
        self.is_open = True
        self.has_ended = asyncio.get_running_loop().create_future()
        self._greetings: list[ServerFrame] = [Challenge(b"\x09" + bytes(31), bytes(16)), Joined()]

    @property
    def transport(self) -> Connection:
        return self

    def abort(self) -> None:
        self.is_open = False

    async def send(self, message: str) -> None:
        pass

    async def recv(self, decode: Literal[False]) -> bytes:
        if self._greetings:
            return encode_frame(self._greetings.pop(0)).encode()
        await self.has_ended
        raise ConnectionResetError("reset")

    latency = 0.0

    async def ping(self) -> asyncio.Future[float]:
        return asyncio.get_running_loop().create_future()

    async def wait_closed(self) -> None:
        pass


class Longest(Random):
    """Waits are as long as they may be."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Rig:
    """A link, what it opens, and its listener."""

    def __init__(self, interfaces: Sequence[str] = ()) -> None:
        self.opened: list[Connection] = []
        self.by: list[str | None] = []
        """The interface that each attempt was to go by."""
        self.fails = False
        self.attempts = 0
        self.gate: asyncio.Future[None] | None = None
        """What the next attempts wait for."""
        self.downs: list[str] = []
        self.on_down: Callable[[], None] = lambda: None
        self.link = RendezvousLink(
            "ws://127.0.0.1:1",
            join=lambda challenge: Join("0" * 32, Role.CLIENT, "1" * 32),
            listener=self,
            random=Longest(),
            interfaces=lambda: interfaces,
            open_socket=self._open,
        )

    async def _open(self, interface: str | None) -> Connection:
        self.attempts += 1
        self.by.append(interface)
        if self.gate is not None:
            await self.gate
        if self.fails:
            raise OSError("network unreachable")
        self.opened.append(Connection())
        return self.opened[-1]

    def move(self) -> None:
        self.link.network_moved(local_address_lost=True, slept_seconds=0.0)

    @property
    def still_open(self) -> int:
        return sum(connection.is_open for connection in self.opened)

    # LinkListener.

    def link_opening(self) -> None:
        pass

    def link_up(self, peers: Sequence[str]) -> None:
        pass

    def link_down(self, reason: str, refusal: RefusalCode | None) -> None:
        self.downs.append(reason)
        self.on_down()

    def link_failed(self, error: RendezvousError) -> None:
        raise error

    def link_received(self, sender: str, body: bytes) -> None:
        pass

    has_live_tubes = False

    def link_presence(self, peer_id: str, present: bool) -> None:
        pass


async def turns(count: int = TURNS) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
async def rig() -> Rig:
    """Joined."""
    rig = Rig()
    rig.link.start()
    await turns()
    assert rig.link.is_up
    return rig


@pytest.mark.parametrize("count", range(10))
async def test_a_link_that_is_closed_as_its_network_moves_leaves_no_connection_and_no_task(
    rig: Rig, count: int
) -> None:
    rig.move()
    await turns(count)
    await rig.link.close()
    await turns()
    assert rig.still_open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("count", range(10))
async def test_two_moves_leave_one_new_connection(rig: Rig, count: int) -> None:
    rig.move()
    await turns(count)
    rig.move()
    await turns()
    assert rig.link.is_up
    assert rig.opened[-1].is_open
    assert rig.still_open == 1
    await rig.link.close()


async def test_a_move_ends_the_wait_for_the_next_attempt_and_the_row_of_failures(rig: Rig) -> None:
    rig.fails = True
    rig.opened[0].has_ended.set_result(None)
    await turns()
    failed = rig.attempts
    await turns()
    assert rig.attempts == failed, "it does not wait"
    rig.move()
    await turns()
    assert rig.attempts >= failed + 2, "after a move the row of waits begins with none"
    await rig.link.close()


async def test_a_move_that_the_owner_tells_of_as_the_link_goes_down_is_heeded_at_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def heal() -> None:
        if len(rig.downs) == 3:
            rig.fails = False
            rig.move()

    rig.on_down, rig.fails = heal, True
    rig.opened[0].has_ended.set_result(None)
    await eventually(lambda: not rig.fails)
    await turns()
    assert rig.link.is_up, "it waits, as after so many failures without a move"
    assert not caplog.records
    await rig.link.close()


@pytest.mark.parametrize("count", range(5))
async def test_a_move_as_the_connection_ends_by_itself_begins_another_at_once(rig: Rig, count: int) -> None:
    rig.opened[0].has_ended.set_result(None)
    await turns(count)
    rig.move()
    await turns()
    assert rig.link.is_up
    assert rig.still_open == 1
    await rig.link.close()


@pytest.mark.parametrize("count", range(1, 6))
async def test_a_move_just_as_a_connection_is_made_is_not_lost(rig: Rig, count: int) -> None:
    rig.gate = asyncio.get_running_loop().create_future()
    rig.move()
    await turns()
    made = rig.attempts
    rig.gate.set_result(None)
    await turns(count)
    rig.move()
    await turns()
    assert rig.link.is_up
    assert rig.attempts > made, "it stays on a connection of before the move"
    assert rig.still_open == 1
    await rig.link.close()


@pytest.mark.parametrize(
    ("end", "ways"),
    [
        (ConnectionClosedError(None, Close(1011, "keepalive ping timeout")), {None, "wlan0"}),
        (ConnectionResetError("reset"), {None}),
    ],
    ids=["silence", "a reset"],
)
async def test_after_silence_the_rendezvous_is_dialled_by_each_interface_at_once(
    end: Exception, ways: set[str | None]
) -> None:
    rig = Rig(["wlan0"])
    rig.link.start()
    await turns()
    assert rig.by == [None]
    rig.by.clear()
    rig.opened[0].has_ended.set_exception(end)
    await turns()
    assert rig.link.is_up
    assert set(rig.by) == ways
    await rig.link.close()
    assert rig.still_open == 0
