"""Real tubes: one whose peer floods it, and an honest one beside it in the same process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from perdure.wire import MAX_MESSAGE_FRAMES, Data, Frame, Gone, Open, Ping, ResetCode, Window, encode_frame
from perdure.wire import Reset as ResetFrame
from support.application_pair import ApplicationPair
from support.recorder import TIMEOUT, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable


def tiny(frame: Frame) -> Callable[[int], bytes]:
    return lambda number: encode_frame(frame) * MAX_MESSAGE_FRAMES


def bytes_one_by_one(number: int) -> bytes:
    first = 1 + number * MAX_MESSAGE_FRAMES
    return b"".join(encode_frame(Data(1, first + at, memoryview(b"x"))) for at in range(MAX_MESSAGE_FRAMES))


def streams_that_come_and_go(number: int) -> bytes:
    ids = (2 * (number * 256 + at) + 3 for at in range(MAX_MESSAGE_FRAMES // 2))
    pairs = ((Open(stream_id, 0, b"h:1"), ResetFrame(stream_id, ResetCode.ABORTED)) for stream_id in ids)
    return b"".join(encode_frame(frame) for pair in pairs for frame in pair)


FLOODS = {
    "gone": tiny(Gone(99)),
    "ping": tiny(Ping(1)),
    "window": tiny(Window(1, 1)),
    "bytes one by one": bytes_one_by_one,
    "streams that come and go": streams_that_come_and_go,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
async def test_an_honest_tube_goes_on_beside_one_that_is_flooded(flood: Callable[[int], bytes]) -> None:
    async with ApplicationPair() as hostile, ApplicationPair() as honest:
        await hostile.connect()
        await honest.connect()
        opened = Recorder.open(hostile.here.manager)
        opened.write(b"x")
        async with asyncio.timeout(TIMEOUT):
            assert await opened.received(1) == b"x"
        stream = Recorder.open(honest.here.manager)
        carrier = hostile.here.manager.tube.driver.carriers.carrier
        assert carrier is not None
        sent = 0
        for number in range(60):
            while sent < 20 * (number + 1):  # whatever the carrier says of its room
                carrier.send(flood(sent))
                sent += 1
            stream.write(b"echo")
            async with asyncio.timeout(TIMEOUT):
                assert await stream.received(4 * (number + 1)) == b"echo" * (number + 1)
        assert honest.here.manager.state.is_up
        for end in (honest.here, honest.there):
            assert "reconnecting" not in end.states()
