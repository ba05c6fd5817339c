"""One connection of a link, whose socket always has a frame."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from perdure.signaling.frames import Presence, encode_frame
from perdure.signaling.link_connection import FRAMES_A_TURN, LinkConnection


class Endless:
    """A socket with a frame whenever it is asked; it counts them."""

    def __init__(self) -> None:
        self.count = 0

    async def recv(self, decode: bool) -> bytes:
        self.count += 1
        return encode_frame(Presence(f"{self.count:032x}", True)).encode()


async def test_a_rendezvous_that_always_has_a_frame_lets_others_have_their_turn() -> None:
    socket = Endless()
    connection = LinkConnection(cast(Any, socket))

    async def receive_all() -> None:
        while True:
            await connection.receive()

    receiving = asyncio.ensure_future(receive_all())
    for _ in range(5):
        before = socket.count
        await asyncio.sleep(0)
        assert socket.count - before <= FRAMES_A_TURN
    receiving.cancel()
    assert socket.count > 3 * FRAMES_A_TURN


class Answering:
    """A socket whose pings are answered."""

    async def ping(self) -> asyncio.Future[float]:
        answered: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        answered.set_result(0.0)
        return answered


async def test_a_connection_that_was_asked_just_now_is_not_asked_again_at_once() -> None:
    connection = LinkConnection(cast(Any, Answering()))
    assert connection.ask_delay(1000.0) == 0.0
    assert await connection.answers_ping()
    assert 0.0 < connection.ask_delay(1000.0) <= 1000.0
    assert connection.ask_delay(0.0) == 0.0
