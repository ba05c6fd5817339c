"""Real tubes: one whose peer floods it until its carrier is cut, and an honest one beside it in the same process.

How much of a flood a turn of the event loop reads, tests/test_carrier_session.py says.
"""

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
    "gone": (tiny(Gone(99)), "frames that change nothing"),
    "ping": (tiny(Ping(1)), "frames that ask for a reply"),
    "window": (tiny(Window(1, 1)), "frames that change nothing"),
    "bytes one by one": (bytes_one_by_one, "the peer closed the data channel"),
    "streams that come and go": (streams_that_come_and_go, "frames that ask for a reply"),
}
"""What is sent, and why the carrier is lost by it: the bytes are all read, and acknowledged to a tube that did not send
them."""


@pytest.mark.parametrize(("flood", "end"), FLOODS.values(), ids=FLOODS.keys())
async def test_an_honest_tube_goes_on_beside_one_that_floods_each_carrier_until_it_is_cut(
    flood: Callable[[int], bytes], end: str
) -> None:
    async with ApplicationPair() as hostile, ApplicationPair() as honest:
        await hostile.connect()
        await honest.connect()
        opened = Recorder.open(hostile.here.manager)
        opened.write(b"x")
        async with asyncio.timeout(TIMEOUT):
            assert await opened.received(1) == b"x"
        stream = Recorder.open(honest.here.manager)
        sent = echoed = 0

        async def echo() -> None:
            nonlocal echoed
            echoed += 1
            stream.write(b"echo")
            async with asyncio.timeout(TIMEOUT):
                assert await stream.received(4 * echoed) == b"echo" * echoed

        while echoed < 60 or not any(end in change.detail for change in hostile.there.changes):
            assert echoed < 6000, "the flood had no end"
            carrier = hostile.here.manager.tube.driver.carriers.held.current  # another one, where that was cut
            for _ in range(20 if carrier is not None and hostile.here.manager.state.is_up else 0):
                assert carrier is not None
                carrier.send(flood(sent))  # whatever the carrier says of its room
                sent += 1
            await echo()
        assert honest.here.manager.state.is_up
